import Abstractions
import Synchronization

/// Remembers what a copy said about its progress.
final class ProgressLog: Sendable {
    private let steps = Mutex<[TransferProgress]>([])
    private let onStep: @Sendable () -> Void

    init(onStep: @escaping @Sendable () -> Void = {}) { self.onStep = onStep }

    var sink: ProgressSink {
        ProgressSink { step in
            self.steps.withLock { $0.append(step) }
            self.onStep()
        }
    }

    var all: [TransferProgress] { steps.withLock { $0 } }

    /// - Throws: `ConformanceFailure` when a step goes back or past the end.
    func checkForward() throws {
        let all = all
        for (old, new) in zip(all, all.dropFirst()) {
            try expect(new.bytes >= old.bytes && new.files >= old.files, "progress went back from \(old) to \(new)")
        }
        for step in all {
            try expect(step.bytes >= 0 && step.files >= 0, "progress below zero: \(step)")
            if let total = step.totalBytes { try expect(step.bytes <= total, "progress past its total: \(step)") }
        }
    }
}
