import Abstractions

/// What one run is asked to do beside its recipe.
public struct RunOptions: Sendable {
    /// Hypervisors from the command line; empty leaves it to the recipe.
    public var hypervisors: [String] = []
    /// Disk backends from the command line; empty leaves it to the recipe.
    public var disks: [String] = []
    /// How machines come up; nil leaves it to the recipe.
    public var boot: BootMode?
    /// The result folder; must be new or empty.
    public var report: HostPath
    /// Whether a made-up guest may count as passed.
    public var allowSimulated = false
    /// When the IO disk is kept in the result folder.
    public var keep = Keep.never

    /// When disks are kept.
    public enum Keep: String, Sendable, CaseIterable {
        /// Never.
        case never
        /// When the run did not pass.
        case failed
        /// Always.
        case always
    }

    /// Options for a run whose results go to `report`.
    public init(report: HostPath) { self.report = report }
}

/// How a run ended, for its caller.
public struct RunOutcome: Sendable {
    /// The result; nil when the input was so bad that nothing was begun.
    public var result: RunResult?
    /// The exit code.
    public var exitCode: Int32
    /// The result folder, when there is one.
    public var report: HostPath?
    /// What to say of it; nil when there is nothing but the result.
    public var error: BackendError?
}
