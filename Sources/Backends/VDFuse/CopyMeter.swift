import Abstractions

/// Counts a copy into an image and tells its progress, at most 20 times a second.
struct CopyMeter {
    private(set) var report = CopyReport()
    private let progress: ProgressSink
    private let totalBytes: Int64?
    private var moved: Int64 = 0
    private var lastTold = ContinuousClock.now

    init(_ progress: ProgressSink, totalBytes: Int64?) {
        self.progress = progress
        self.totalBytes = totalBytes
    }

    /// Bytes were written.
    mutating func advance(_ bytes: Int64) {
        moved += bytes
        guard ContinuousClock.now - lastTold >= .milliseconds(50) else { return }
        lastTold = .now
        tell()
    }

    /// A file of this apparent size is done.
    mutating func finish(_ size: Int64) {
        report.bytes += size
        report.files += 1
        advance(0)
    }

    /// Something was left out.
    mutating func refuse(_ names: [String], _ reason: String) {
        report.refuse(names.joined(separator: "/"), reason)
    }

    func tell() { progress.report(TransferProgress(bytes: moved, files: report.files, totalBytes: totalBytes)) }
}
