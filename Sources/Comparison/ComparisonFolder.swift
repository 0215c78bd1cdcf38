import Abstractions
import FoundationEssentials
import Host

/// A comparison's folder: `raw.jsonl`, and what is made of it.
public struct ComparisonFolder: Sendable {
    /// Where it is.
    public let path: HostPath

    /// Names a folder; looks at nothing.
    public init(_ path: HostPath) { self.path = path }

    /// The design of what was begun here.
    ///
    /// - Throws: `notFound` for another folder, `corrupt`.
    public func design() throws -> Design {
        guard let design = try RawLog.read(in: path).lazy.compactMap(\.design).first else {
            throw BackendError(
                .corrupt, "compare", "\(path)/\(RawLog.name) does not begin with a design", blame: .caller)
        }
        return design
    }

    /// What `raw.jsonl` says, computed anew.
    ///
    /// - Throws: `notFound` for another folder, `corrupt`.
    public func summary() throws -> Summary { try Analysis(RawLog.read(in: path)).summary() }

    /// Computes everything from `raw.jsonl` and writes it: `summary.json`, `samples.csv`, `report.md` and `report.html`.
    ///
    /// - Returns: the summary, and why the report has no plots, nil when it has.
    /// - Throws: `notFound` for another folder, `corrupt`, what the host says.
    public func write() async throws -> (summary: Summary, plotless: BackendError?) {
        let lines = try RawLog.read(in: path)
        let (summary, samples) = (try Analysis(lines).summary(), lines.compactMap(\.sample))
        try HostFiles.write(try Self.json(summary), to: path.appending("summary.json"))
        try HostFiles.write(Array(SampleTable(summary.design, samples).csv.utf8), to: path.appending("samples.csv"))
        try HostFiles.write(Array(MarkdownReport(summary).text.utf8), to: path.appending("report.md"))
        var plots: [Plots.Plot] = []
        var plotless: BackendError?
        do {
            plots = try await Plots(summary, samples).drawn(in: path)
        } catch let error as BackendError where error.code == .unavailable {
            plotless = error
        }
        try HostFiles.write(Array(HTMLReport(summary, plots).text.utf8), to: path.appending("report.html"))
        return (summary, plotless)
    }

    /// The text of `summary.json`.
    ///
    /// - Throws: never in practice; what the encoder says.
    public static func json(_ summary: Summary) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(summary)) + [0x0a]
    }
}

/// Every value, a row each: `samples.csv` (RFC 4180).
struct SampleTable {
    private let design: Design
    private let samples: [Sample]

    init(_ design: Design, _ samples: [Sample]) {
        self.design = design
        self.samples = samples
    }

    var csv: String {
        let factors = design.factors.map(\.name)
        let head =
            ["block", "place", "warm_up", "cell"] + factors + ["quantity", "value", "unit", "why", "started_ms"]
        let cells = Dictionary(design.cells.map { ($0.name, $0.levels) }) { $1 }
        let rows = samples.flatMap { sample -> [[String]] in
            let levels = factors.map { cells[sample.cell]?[$0] ?? "" }
            let start = ["\(sample.block)", "\(sample.place)", "\(sample.isWarmUp)", sample.cell] + levels
            let end = [sample.why ?? "", "\(sample.startedMs)"]
            // A measurement that failed has a row too.
            guard !sample.values.isEmpty else { return [start + ["", "", ""] + end] }
            return sample.values.sorted { $0.key < $1.key }.map { name, quantity in
                start + [name, Rounded.text(quantity.value), quantity.unit] + end
            }
        }
        return CommaSeparated.text([head] + rows)
    }
}

/// Comma-separated values as RFC 4180 has them.
package enum CommaSeparated {
    /// Rows of fields, each row with its end of line.
    package static func text(_ rows: [[String]]) -> String {
        rows.map { $0.map(field).joined(separator: ",") + "\r\n" }.joined()
    }

    private static func field(_ text: String) -> String {
        let isPlain = !text.contains { ",\"".contains($0) || $0.isNewline }
        return isPlain ? text : "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}
