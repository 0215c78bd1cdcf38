import Abstractions

/// A backend that was tried and given up.
public struct RejectedBackend: Sendable, Hashable, Codable {
    /// What it serves.
    public var kind: BackendKind
    /// Its name.
    public var backend: String
    /// The phase in which it failed.
    public var during: String
    /// How it failed.
    public var error: BackendError
    /// When, in milliseconds from the start of the run.
    public var afterMs: Int64
}
