import Abstractions
import Host
import Runner

/// The end of a run for people: a table of tasks, who was given up, and where the results lie.
struct RunSummary {
    private let outcome: RunOutcome

    init(_ outcome: RunOutcome) { self.outcome = outcome }

    /// Writes it: the table or `result.json` to standard output, the rest to standard error.
    ///
    /// - Throws: what the encoder says.
    func print(json: Bool) throws {
        if let result = outcome.result {
            if json {
                try Terminal.data(Array(try result.json().utf8))
            } else {
                Terminal.table([["task", "status", "exit", "time", "memory", "why"]] + result.tasks.map(row))
                if result.simulated { Terminal.talk("anyvisor: the guest was simulated; nothing of it really ran") }
            }
        }
        if let error = outcome.error { Terminal.talk("anyvisor: \(Terminal.printable(lines: error.description))") }
        if let report = outcome.report { Terminal.talk("results: \(report)") }
    }

    private func row(_ task: TaskResult) -> [String] {
        let ms = task.usage?.wallMs ?? task.hostMs
        return [
            task.id, task.status.rawValue, task.exit.map { "\($0)" } ?? "-", ms.map(RunSummary.time) ?? "-",
            task.usage?.memoryPeakBytes.map { ByteCount($0).description } ?? "-", task.reasons.first ?? "",
        ]
    }

    /// `0.8 s`, `75 s`.
    static func time(_ ms: Int64) -> String {
        ms < 10_000 ? "\(Double(ms / 10) / 100) s" : "\(Double(ms / 100) / 10) s"
    }
}

extension Terminal {
    /// `printable`, with line breaks kept.
    static func printable(lines text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { printable(String($0)) }
            .joined(separator: "\n")
    }
}
