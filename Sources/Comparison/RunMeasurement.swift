import Abstractions
import FoundationEssentials
import Host
import Runner

/// What one run tells in numbers.
enum RunMeasurement {
    /// Custom numbers are looked for in so many bytes of a task's output.
    private static let outputLimit = 1 << 20

    /// All quantities of a run that passed.
    ///
    /// `total`, `tasks` a minute, each `phase.NAME`, `first-task` (until the first began), for each task `task.ID.wall`, `.cpu`, `.memory` as the guest saw
    /// them, and `metric.ID.NAME` for each line `metric NAME VALUE UNIT` that the task printed.
    static func values(of result: RunResult, in folder: HostPath, firstTaskMs: Int64?) -> [String: Quantity] {
        var values = ["total": Quantity(ms: result.ms)]
        for phase in result.phases { values["phase.\(phase.name)"] = Quantity(ms: phase.ms) }
        if let firstTaskMs { values["first-task"] = Quantity(ms: firstTaskMs) }
        if result.ms > 0 {
            values["tasks"] = Quantity(Double(result.tasks.count) / Double(result.ms) * 60_000, "tasks/min")
        }
        for task in result.tasks {
            if let wall = task.usage?.wallMs ?? task.hostMs { values["task.\(task.id).wall"] = Quantity(ms: wall) }
            if let cpu = task.usage?.cpuUs { values["task.\(task.id).cpu"] = Quantity(Double(cpu) / 1e6, "s") }
            if let peak = task.usage?.memoryPeakBytes {
                values["task.\(task.id).memory"] = Quantity(Double(peak), "bytes")
            }
            guard let place = task.folder else { continue }
            let output = folder.appending(place).appending("stdout")
            guard let size = HostFiles.size(output), size <= outputLimit, let text = try? HostFiles.readText(output)
            else { continue }
            for (name, quantity) in metrics(in: text) { values["metric.\(task.id).\(name)"] = quantity }
        }
        return values
    }

    /// Lines `metric NAME VALUE UNIT`; another line, a value that is no finite number, or more than 100 of them, say nothing.
    static func metrics(in text: String) -> [(String, Quantity)] {
        text.split(whereSeparator: \.isNewline).lazy.compactMap { line in
            let words = line.split(separator: " ")
            guard words.count == 4, words[0] == "metric", let value = Double(words[2]), value.isFinite,
                words[1].count <= 64, words[3].count <= 16, words[1].allSatisfy({ $0.isASCII && !$0.isWhitespace })
            else { return nil }
            return (String(words[1]), Quantity(value, String(words[3])))
        }.prefix(100).map(\.self)
    }
}
