import Abstractions
import Synchronization

extension ProgressSink {
    /// The same sink, which hears nothing twice: an operation that is done again reports only what goes beyond the first time.
    var forwardOnly: ProgressSink {
        let furthest = Furthest()
        let report = report
        return ProgressSink { progress in
            if let next = furthest.advance(to: progress) { report(next) }
        }
    }

    private final class Furthest: Sendable {
        private let furthest = Mutex(TransferProgress(bytes: -1, files: -1))

        func advance(to progress: TransferProgress) -> TransferProgress? {
            furthest.withLock { furthest in
                guard progress.bytes > furthest.bytes || progress.files > furthest.files else { return nil }
                furthest = TransferProgress(
                    bytes: max(progress.bytes, furthest.bytes), files: max(progress.files, furthest.files),
                    totalBytes: progress.totalBytes ?? furthest.totalBytes)
                return furthest
            }
        }
    }
}
