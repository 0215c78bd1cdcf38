import Abstractions
import Filters

/// What `DiskOperations` did: who did it, who failed before, and what was copied.
public struct TransferReport: Sendable, Codable, Hashable {
    /// The backend that did it.
    public var backend: String
    /// The backends that were passed over or replaced, in the order it happened, with their errors.
    public var replaced: [Rejection]
    /// What was copied and what was left out.
    public var copy: CopyReport
    /// Why temporary files of the work are still there, nil when nothing is; `anyvisor reap` removes them.
    public var leftover: BackendError?
}
