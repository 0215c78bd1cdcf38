import Abstractions

/// One thing that happened in a run; progress, reports and `events.jsonl` are made of these.
public struct RunEvent: Sendable, Hashable, Codable {
    /// Number within the attempt, from 1 without gaps; 0 for `progress`, which is not kept.
    public var seq: Int
    /// The attempt: the run's name on this host.
    public var attempt: String
    /// Milliseconds since 1970.
    public var timeMs: Int64
    /// Milliseconds since the start of the run, by a clock that never goes back.
    public var sinceStartMs: Int64
    /// What happened.
    public var kind: Kind
    /// The phase it belongs to.
    public var phase: String?
    /// The task it belongs to.
    public var task: String?
    /// How it ended.
    public var status: String?
    /// How long it took.
    public var ms: Int64?
    /// The backend concerned.
    public var backend: String?
    /// For people.
    public var message: String?
    /// How far a copy has come.
    public var bytes: Int64?

    /// What an event tells.
    public enum Kind: String, Sendable, Hashable, Codable {
        /// The run begins.
        case runStart = "run-start"
        /// A phase begins.
        case phaseStart = "phase-start"
        /// A phase ended: `status` is `ok` or the error's code.
        case phaseEnd = "phase-end"
        /// A backend was given up.
        case rejected
        /// The agent has begun.
        case guestReady = "guest-ready"
        /// A task begins.
        case taskStart = "task-start"
        /// A task ended, as the agent says.
        case taskEnd = "task-end"
        /// The agent has finished.
        case guestDone = "guest-done"
        /// The agent gives up.
        case guestError = "guest-error"
        /// The machine ended: `status` is its state.
        case machineEnd = "machine-end"
        /// Something worth knowing.
        case note
        /// How far a copy has come; shown, not kept.
        case progress
        /// The run ended.
        case runEnd = "run-end"
    }
}
