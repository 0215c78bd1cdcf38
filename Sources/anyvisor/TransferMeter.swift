import Abstractions
import Synchronization

/// Shows how far a copy has come, on a terminal only, and its report at the end.
final class TransferMeter: Sendable {
    private let json: Bool
    private let started = ContinuousClock.now
    private let shown: Mutex<ContinuousClock.Instant?> = Mutex(nil)

    init(json: Bool) { self.json = json }

    /// Where the copy reports to.
    var sink: ProgressSink {
        guard Terminal.isTerminal(2), !json else { return .none }
        return ProgressSink { [self] progress in show(progress) }
    }

    private func show(_ progress: TransferProgress) {
        let now = ContinuousClock.now
        let due = shown.withLock { last in
            guard last.map({ now - $0 > .milliseconds(100) }) ?? true else { return false }
            last = now
            return true
        }
        guard due else { return }
        let seconds = max(0.001, (now - started).inSeconds)
        let rate = ByteCount(Int64(Double(progress.bytes) / seconds))
        let total = progress.totalBytes.map { " of \(ByteCount($0))" } ?? ""
        Terminal.overwrite("\(ByteCount(progress.bytes))\(total), \(progress.files) files, \(rate)/s")
    }

    /// Prints the report and what was left out.
    func finish(_ report: CopyReport) throws {
        if shown.withLock({ $0 != nil }) { Terminal.overwrite("") }
        if json { return try Terminal.json(report) }
        let seconds = (ContinuousClock.now - started).inSeconds
        let rounded = Double(Int(seconds * 100)) / 100
        Terminal.talk("\(report.files) files, \(ByteCount(report.bytes)) in \(rounded) s")
        for entry in report.refused {
            Terminal.talk("left out: \(Terminal.printable(entry.path)) (\(entry.reason))")
        }
        let unlisted = report.refusedCount - Int64(report.refused.count)
        if unlisted > 0 { Terminal.talk("left out: \(unlisted) more") }
    }
}
