import Abstractions
import Host

/// Whether two runs of one recipe came to the same, whichever backends did them.
///
/// Looked at are each task's status and exit code, its output, and its artifacts by name and content; not times, versions or notes.
/// Within each line of text, what the recipe's masks match counts as equal.
public struct RunComparison {
    /// Something that is not equal.
    public struct Difference: Sendable, Hashable, Codable {
        /// The task, nil when it is about the runs.
        public var task: String?
        /// What differs: `recipe`, `tasks`, `status`, `exit`, `stdout`, `stderr`, or a file below `artifacts/`.
        public var what: String
        /// What it is in the first run.
        public var first: String
        /// What it is in the second run.
        public var second: String
        /// The line that differs, from 1.
        public var line: Int?
    }

    private let first: (folder: HostPath, result: RunResult)
    private let second: (folder: HostPath, result: RunResult)
    private let masks: [Mask]

    /// A file that is not equal byte by byte is looked at up to this size.
    private static let limit: Int = 64 << 20

    /// Reads both results.
    ///
    /// - Throws: `notFound` for a folder without a result, `corrupt` for one that cannot be read.
    public init(_ first: HostPath, _ second: HostPath) throws {
        self.first = (first, try RunResult(in: first))
        self.second = (second, try RunResult(in: second))
        masks = try (self.first.result.recipe.masks ?? []).map { try Mask($0) }
    }

    /// Everything that is not equal, in the order of the tasks.
    ///
    /// - Throws: what the host says about a file.
    public func differences() throws -> [Difference] {
        var found: [Difference] = []
        let (one, two) = (first.result, second.result)
        if one.recipe.sha256 != two.recipe.sha256 {
            found.append(
                Difference(
                    what: "recipe", first: "\(one.recipe.file) \(one.recipe.sha256 ?? "-")",
                    second: "\(two.recipe.file) \(two.recipe.sha256 ?? "-")"))
        }
        let (names, others) = (one.tasks.map(\.id), two.tasks.map(\.id))
        if names != others {
            found.append(
                Difference(
                    what: "tasks", first: names.joined(separator: " "), second: others.joined(separator: " ")))
        }
        for task in one.tasks {
            guard let other = two.tasks.first(where: { $0.id == task.id }) else { continue }
            found += try compare(task, other)
        }
        return found
    }

    private func compare(_ task: TaskResult, _ other: TaskResult) throws -> [Difference] {
        var found: [Difference] = []
        func note(_ what: String, _ first: String, _ second: String) {
            if first != second { found.append(Difference(task: task.id, what: what, first: first, second: second)) }
        }
        note("status", task.status.rawValue, other.status.rawValue)
        note("exit", task.exit.map { "\($0)" } ?? "none", other.exit.map { "\($0)" } ?? "none")
        let (one, two) = (
            task.folder.map { first.folder.appending($0) }, other.folder.map { second.folder.appending($0) }
        )
        for stream in ["stdout", "stderr"] {
            if let different = try difference(stream, one?.appending(stream), two?.appending(stream), task.id) {
                found.append(different)
            }
        }
        let (files, others) = (Self.files(one?.appending("artifacts")), Self.files(two?.appending("artifacts")))
        for name in Set(files).union(others).sorted() {
            let path = "artifacts/\(name)"
            guard files.contains(name), others.contains(name) else {
                note(path, files.contains(name) ? "there" : "missing", others.contains(name) ? "there" : "missing")
                continue
            }
            if let different = try difference(path, one?.appending(path), two?.appending(path), task.id) {
                found.append(different)
            }
        }
        return found
    }

    /// The names of all files below a folder; a result has neither links nor anything special in it.
    private static func files(_ folder: HostPath?) -> [String] {
        guard let folder else { return [] }
        return HostFiles.names(in: folder).flatMap { name -> [String] in
            let path = folder.appending(name)
            return HostFiles.isDirectory(path) ? files(path).map { "\(name)/\($0)" } : [name]
        }
    }

    private func difference(
        _ what: String, _ first: HostPath?, _ second: HostPath?, _ task: String
    ) throws -> Difference? {
        if try Self.areEqual(first, second) { return nil }
        guard let lines = try Self.lines(first), let others = try Self.lines(second) else {
            func size(_ file: HostPath?) -> Int64 { file.flatMap { HostFiles.size($0) } ?? 0 }
            return Difference(
                task: task, what: what, first: "\(size(first)) bytes", second: "\(size(second)) other bytes")
        }
        for number in 0..<max(lines.count, others.count) {
            let line = number < lines.count ? lines[number] : nil
            let other = number < others.count ? others[number] : nil
            if line == other || line.map(hide) == other.map(hide) { continue }
            return Difference(
                task: task, what: what, first: line.map { String($0.prefix(200)) } ?? "no such line",
                second: other.map { String($0.prefix(200)) } ?? "no such line", line: number + 1)
        }
        return nil
    }

    /// Whether two files have the same bytes; one that is not there has none.
    private static func areEqual(_ first: HostPath?, _ second: HostPath?) throws -> Bool {
        let one = try first.flatMap { HostFiles.exists($0) ? try ByteReader($0) : nil }
        let two = try second.flatMap { HostFiles.exists($0) ? try ByteReader($0) : nil }
        while true {
            let (part, other) = (try one?.next() ?? [], try two?.next() ?? [])
            if part != other { return false }
            if part.isEmpty { return true }
        }
    }

    /// The lines of a text; nil for what is none, or too large to look at.
    private static func lines(_ file: HostPath?) throws -> [Substring]? {
        guard let file, let size = HostFiles.size(file) else { return [] }
        guard size <= limit else { return nil }
        let bytes = try HostFiles.read(file, limit: limit)
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else { return nil }
        return text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    private func hide(_ line: Substring) -> Substring { masks.reduce(line) { $1.hide(in: $0) } }
}
