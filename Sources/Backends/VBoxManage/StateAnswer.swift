import Abstractions

/// What VirtualBox said of a machine's state, and what the answer cost.
struct StateAnswer: Sendable {
    /// The state.
    let state: MachineState
    /// When the question was put.
    let begun: ContinuousClock.Instant
    /// How long the answer took.
    let took: Duration

    /// An answer that was given now.
    init(_ state: MachineState, begun: ContinuousClock.Instant) {
        self.state = state
        self.begun = begun
        took = begun.duration(to: .now)
    }

    /// When it is worth asking again: questions take a sixth of the time at most.
    var again: ContinuousClock.Instant { begun + took * 6 }
    /// Whether it need not be asked again.
    var isFresh: Bool { ContinuousClock.now < again }
}
