import Synchronization

/// Tells blocking work on another thread that nobody waits for it any more.
public final class CancellationFlag: Sendable {
    private let cancelled = Atomic(false)

    /// Starts unset.
    public init() {}

    /// Sets the flag; it is never taken back.
    public func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// Whether the work should end.
    public var isCancelled: Bool { cancelled.load(ordering: .relaxed) }

    /// - Throws: `CancellationError` when the flag is set; for loops that copy.
    public func check() throws {
        if isCancelled { throw CancellationError() }
    }
}
