import Synchronization

/// Counts signs of life, from any thread: a machine that hangs gives none.
final class ActivityMeter: Sendable {
    private let signs = Atomic<UInt64>(0)

    /// How many signs there were.
    var count: UInt64 { signs.load(ordering: .relaxed) }

    /// Something moved.
    func note() { signs.wrappingAdd(1, ordering: .relaxed) }
}
