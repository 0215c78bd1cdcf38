import Abstractions
import Host

/// Runs many cells and says what must be said of them.
public struct ConformanceMatrix: Sendable {
    /// The cells, in the order in which they run.
    public let cells: [ConformanceCell]
    /// Names of the cells that may neither be missing nor skipped.
    public let required: [String]
    /// What they need.
    public let settings: ConformanceSettings

    /// Plans a matrix.
    public init(_ cells: [ConformanceCell], required: [String] = [], settings: ConformanceSettings) {
        self.cells = cells
        self.required = required
        self.settings = settings
    }

    /// What came out of all cells.
    public struct Report: Sendable {
        /// One report a cell.
        public let cells: [CellReport]
        /// Required cells that were skipped or are not there, with the reason.
        public let missing: [(name: String, reason: String)]

        /// Whether every sentence that was tried holds, and everything required was tried.
        public var isGood: Bool { missing.isEmpty && cells.allSatisfy { $0.failures.isEmpty } }
    }

    /// Runs all cells, one after another.
    ///
    /// - Parameters:
    ///   - isVerbose: whether `progress` hears of every case.
    ///   - progress: gets a line for every case that fails, as it happens.
    ///   - print: gets the table, the reasons and the closing line `conformance: N passed, N failed, N skipped`.
    public func run(
        isVerbose: Bool = false, progress: @escaping @Sendable (String) -> Void = { _ in },
        print: @Sendable (String) -> Void
    ) async -> Report {
        var reports: [CellReport] = []
        for cell in cells {
            progress("\(cell.name) …")
            reports.append(
                await ConformanceSuite.run(cell, settings) { result in
                    switch result.outcome {
                    case .failed(let reason): progress("failed: \(result.name): \(reason)")
                    case .passed where isVerbose:
                        progress("passed: \(result.name), \(Double(result.duration.milliseconds) / 1000) s")
                    case .skipped(let reason) where isVerbose: progress("skipped: \(result.name): \(reason)")
                    default: break
                    }
                })
        }
        let report = Report(cells: reports, missing: missing(reports))
        for line in report.lines { print(line) }
        return report
    }

    private func missing(_ reports: [CellReport]) -> [(name: String, reason: String)] {
        required.compactMap { name in
            guard let report = reports.first(where: { $0.name == name }) else {
                return (name, "is required, and there is no such cell")
            }
            if let reason = report.skipped { return (name, "is required, and was skipped: \(reason)") }
            return report.passed == 0 ? (name, "is required, and no case of it passed") : nil
        }
    }

    /// Reads a file of required cells: `KIND BACKEND ISOLATION` a line, `#` starts a comment.
    ///
    /// - Throws: `notFound`; `invalidArgument` for a line of another form.
    public static func requiredCells(_ file: HostPath) throws -> [String] {
        try HostFiles.readText(file).split(separator: "\n").enumerated().compactMap { number, line in
            let words = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
            if words.isEmpty { return nil }
            guard words.count == 3, BackendKind(rawValue: words[0]) != nil,
                ConformanceCell.Isolation(rawValue: words[2]) != nil
            else {
                throw BackendError(
                    .invalidArgument, "conformance", "\(file):\(number + 1): wanted `KIND BACKEND inline|process`")
            }
            return words.joined(separator: " ")
        }
    }
}

extension ConformanceMatrix.Report {
    /// The table, the reasons and the closing line.
    public var lines: [String] {
        let width = max(4, cells.map(\.name.count).max() ?? 0)
        func row(_ name: String, _ fields: [String]) -> String {
            name.padded(to: width)
                + fields.map { "  " + String(repeating: " ", count: max(0, 8 - $0.count)) + $0 }.joined()
        }
        var lines = [row("cell", ["passed", "failed", "skipped", "seconds"])]
        for cell in cells {
            if let reason = cell.skipped {
                lines.append(cell.name.padded(to: width) + "  skipped: \(reason)")
            } else {
                let seconds = Double(cell.duration.milliseconds / 100) / 10
                lines.append(
                    row(cell.name, ["\(cell.passed)", "\(cell.failures.count)", "\(cell.skips.count)", "\(seconds)"]))
            }
        }
        for cell in cells {
            for (reason, count) in cell.skipReasons { lines.append("skipped: \(cell.name): \(count) cases: \(reason)") }
        }
        for cell in cells {
            for failure in cell.failures { lines.append("failed: \(cell.name): \(failure.name): \(failure.reason)") }
        }
        for cell in missing { lines.append("failed: \(cell.name) \(cell.reason)") }
        let failed = cells.reduce(missing.count) { $0 + $1.failures.count }
        let skipped = cells.reduce(0) { $0 + $1.skips.count + ($1.skipped == nil ? 0 : 1) }
        lines.append(
            "conformance: \(cells.reduce(0) { $0 + $1.passed }) passed, \(failed) failed, \(skipped) skipped")
        return lines
    }
}

extension CellReport {
    /// Each reason for a skip and how many cases it had, in order of appearance.
    var skipReasons: [(String, Int)] {
        var reasons: [(String, Int)] = []
        for skip in skips {
            if let index = reasons.firstIndex(where: { $0.0 == skip.reason }) {
                reasons[index].1 += 1
            } else {
                reasons.append((skip.reason, 1))
            }
        }
        return reasons
    }
}

extension String {
    func padded(to width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
}
