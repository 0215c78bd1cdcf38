import Abstractions
import Comparison
import FoundationEssentials
import Host
import Runner

/// The results of one run, or of all runs below a folder, in formats that others read.
struct RunReport {
    /// The formats.
    enum Format: String, CaseIterable {
        case html, json, csv, junit
    }

    private let runs: [(folder: HostPath, result: RunResult)]
    private let name: String

    /// Most of a stream that a report shows.
    private static let streamLimit = 64 << 10

    /// Reads them.
    ///
    /// - Throws: `notFound` when there is no result, `corrupt` for one that cannot be read.
    init(_ folder: HostPath) throws {
        let places = [folder.appending("runs"), folder].flatMap { parent in
            HostFiles.names(in: parent).sorted().map { parent.appending($0) }
        }
        let several = places.filter { HostFiles.exists($0.appending("result.json")) }
        let isOne = HostFiles.exists(folder.appending("result.json")) || several.isEmpty
        runs = try (isOne ? [folder] : several).map { ($0, try RunResult(in: $0)) }
        name = folder.name
    }

    /// The whole report.
    ///
    /// - Throws: never in practice; what the encoder says.
    func text(_ format: Format) throws -> String {
        switch format {
        case .json: try json()
        case .csv: csv
        case .junit: junit
        case .html: html
        }
    }

    private func json() throws -> String {
        if runs.count == 1, let only = runs.first { return try only.result.json() }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(runs.map(\.result)), as: UTF8.self) + "\n"
    }

    private var csv: String {
        let head = [
            "run", "task", "status", "exit", "wall_s", "cpu_s", "memory_peak_bytes", "hypervisor", "disk", "reasons",
        ]
        var rows = [head]
        for (folder, result) in runs {
            let disks = Set(result.disk.values.map(\.name)).sorted().joined(separator: " ")
            for task in result.tasks {
                let cpu: String = task.usage?.cpuUs.map { "\(Double($0) / 1e6)" } ?? ""
                let memory: String = task.usage?.memoryPeakBytes.map { "\($0)" } ?? ""
                rows.append([
                    folder.name, task.id, task.status.rawValue, Self.exit(task), Self.seconds(task), cpu, memory,
                    result.hypervisor?.name ?? "", disks, task.reasons.joined(separator: "; "),
                ])
            }
        }
        return CommaSeparated.text(rows)
    }

    /// What test runners and CI systems read. Source of the elements: the schema of Apache Ant's JUnit task.
    private var junit: String {
        let suites = runs.map { folder, result in
            let cases = result.tasks.map { junit($0, in: folder, of: result) }
            // A run that failed with no task to blame must not look like a good one.
            let isBlamed = result.tasks.contains { $0.status != .success }
            let failure =
                result.status == .passed || isBlamed
                ? []
                : [
                    """
                    <testcase classname="\(xml(result.name))" name="run">\
                    <error message="\(xml(result.error?.message ?? result.status.rawValue))"/></testcase>
                    """
                ]
            func count(_ statuses: TaskStatus...) -> Int { result.tasks.count { statuses.contains($0.status) } }
            return """
                <testsuite name="\(xml(result.name))" tests="\(cases.count + failure.count)" \
                failures="\(count(.failure, .partial))" \
                errors="\(count(.error, .killed, .nodata, .missing) + failure.count)" skipped="\(count(.skipped))" \
                time="\(Double(result.ms) / 1000)">
                \((cases + failure).joined(separator: "\n"))
                </testsuite>
                """
        }
        return
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\(suites.joined(separator: "\n"))\n</testsuites>\n"
    }

    private func junit(_ task: TaskResult, in folder: HostPath, of result: RunResult) -> String {
        let reason = xml(task.reasons.joined(separator: "; "))
        let outcome =
            switch task.status {
            case .success: ""
            case .failure, .partial: "<failure type=\"\(task.status.rawValue)\" message=\"\(reason)\"/>"
            case .skipped: "<skipped message=\"\(reason)\"/>"
            case .error, .killed, .nodata, .missing:
                "<error type=\"\(task.status.rawValue)\" message=\"\(reason)\"/>"
            }
        let streams = ["stdout", "stderr"].map { name in
            let text = stream(name, of: task, in: folder)
            let element = name == "stdout" ? "system-out" : "system-err"
            return text.isEmpty ? "" : "<\(element)>\(xml(text))</\(element)>"
        }
        let seconds = Double(task.usage?.wallMs ?? task.hostMs ?? 0) / 1000
        return """
            <testcase classname="\(xml(result.name))" name="\(xml(task.id))" time="\(seconds)">\
            \(outcome)\(streams.joined())</testcase>
            """
    }

    private var html: String { HTMLPage.document(name, runs.map { html($0, $1) }.joined(separator: "\n")) }

    private func html(_ folder: HostPath, _ result: RunResult) -> String {
        var tasks = [["task", "status", "exit", "seconds", "memory", "why"]]
        for task in result.tasks {
            let memory: String = task.usage?.memoryPeakBytes.map { ByteCount($0).description } ?? ""
            tasks.append([
                task.id, task.status.rawValue, Self.exit(task), Self.seconds(task), memory,
                task.reasons.joined(separator: "; "),
            ])
        }
        var phases = [["phase", "seconds", "status"]]
        for phase in result.phases { phases.append([phase.name, "\(Double(phase.ms) / 1000)", phase.status]) }
        let rejected = result.rejections.map { "\($0.backend): \($0.error.message)" }
        let facts: [[String]] = [
            ["", ""],
            ["hypervisor", result.hypervisor.map { "\($0.name) \($0.version)" } ?? "none"],
            ["disk", Set(result.disk.values.map(\.name)).sorted().joined(separator: ", ")],
            ["image", result.image.map { "\($0.name) \($0.identity)" } ?? "none"],
            ["passed over", rejected.joined(separator: "; ")],
        ]
        let verdict = ([result.status.rawValue] + [result.error?.message].compactMap(\.self)).joined(separator: ": ")
        return """
            <h2>\(HTMLPage.escaped(folder.name))</h2>
            <p class="verdict">\(HTMLPage.escaped(verdict))</p>
            \(HTMLPage.table(tasks, isText: true))
            \(result.tasks.map { streams(of: $0, in: folder) }.joined())
            \(HTMLPage.table(phases))
            \(HTMLPage.table(facts, hasHead: false, isText: true))
            """
    }

    private func streams(of task: TaskResult, in folder: HostPath) -> String {
        ["stdout", "stderr"].map { name in
            let text = stream(name, of: task, in: folder)
            guard !text.isEmpty else { return "" }
            let title = HTMLPage.escaped("\(task.id), \(name)")
            return "<details><summary>\(title)</summary><pre>\(HTMLPage.escaped(text))</pre></details>\n"
        }.joined()
    }

    private static func exit(_ task: TaskResult) -> String { task.exit.map { "\($0)" } ?? "" }

    private static func seconds(_ task: TaskResult) -> String {
        (task.usage?.wallMs ?? task.hostMs).map { "\(Double($0) / 1000)" } ?? ""
    }

    /// The beginning of a stream of a task, empty when there is none.
    private func stream(_ name: String, of task: TaskResult, in folder: HostPath) -> String {
        guard let place = task.folder, let file = try? HostFile(folder.appending(place).appending(name)) else {
            return ""
        }
        var bytes = [UInt8](repeating: 0, count: Int(min(file.size, Int64(Self.streamLimit))))
        let count = (try? bytes.withUnsafeMutableBytes { try file.read(at: 0, into: $0) }) ?? 0
        let text = String(decoding: bytes[..<count], as: UTF8.self)
        return file.size > count ? "\(text)\n… \(file.size - Int64(count)) more bytes" : text
    }

    /// Text for XML, in which most control characters may not stand at all (XML 1.0, section 2.2).
    private func xml(_ text: String) -> String {
        let legal = text.unicodeScalars.map { scalar -> Character in
            let isLegal = scalar.value >= 0x20 || scalar == "\n" || scalar == "\t"
            return isLegal && scalar.value & 0xfffe != 0xfffe ? Character(scalar) : "\u{fffd}"
        }
        return HTMLPage.escaped(String(legal))
    }
}
