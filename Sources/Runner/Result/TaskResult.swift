import Abstractions

/// The raw data of one task.
public struct TaskResult: Sendable, Hashable, Codable {
    /// Its place in the order, from 1.
    public var number: Int
    /// Its name.
    public var id: String
    /// How it ended.
    public var status: TaskStatus
    /// Why it is not `success`, one reason a line of the agent's, or ours.
    public var reasons: [String]
    /// Its exit code; nil when it did not end by itself.
    public var exit: Int32?
    /// Its folder below the result folder; nil when nothing came back.
    public var folder: String?
    /// What it used.
    public var usage: TaskUsage?
    /// Bytes of standard output.
    public var stdoutBytes: Int64?
    /// Bytes of standard error.
    public var stderrBytes: Int64?
    /// Files among its artifacts.
    public var artifactFiles: Int
    /// How long it took as the console saw it from the host.
    public var hostMs: Int64?
}

/// How a task ended; the words are described in the guest's README.
public enum TaskStatus: String, Sendable, Hashable, Codable, CaseIterable {
    /// Exit code 0, all artifacts there.
    case success
    /// Exit code 0, and a declared artifact is missing or was refused.
    case partial
    /// Another exit code.
    case failure
    /// Could not be started.
    case error
    /// Ended by a deadline or a limit, or with the machine.
    case killed
    /// A need did not succeed.
    case skipped
    /// It ran, and its results cannot be read.
    case nodata
    /// The machine ended before it ran.
    case missing
}

/// What a task used, as the guest measured it; what was not measured is nil.
public struct TaskUsage: Sendable, Hashable, Codable {
    /// Who measured: `cgroup2`, `cgroup1`, or `none` for wall time alone.
    public var source: String?
    /// Wall time.
    public var wallMs: Int64?
    /// Processor time of the whole process tree.
    public var cpuUs: Int64?
    /// User part of it.
    public var cpuUserUs: Int64?
    /// System part of it.
    public var cpuSystemUs: Int64?
    /// The kernel's peak of memory, file cache included.
    public var memoryPeakBytes: Int64?
    /// Peak of anonymous memory, sampled.
    public var memoryAnonPeakBytes: Int64?

    /// Reads the agent's `key=value` lines.
    init(parsing text: String) {
        let values = KeyValues.parse(text)
        source = values["source"]
        wallMs = values["wall_ms"].flatMap { Int64($0) }
        cpuUs = values["cpu_us"].flatMap { Int64($0) }
        cpuUserUs = values["cpu_user_us"].flatMap { Int64($0) }
        cpuSystemUs = values["cpu_system_us"].flatMap { Int64($0) }
        memoryPeakBytes = values["memory_peak_bytes"].flatMap { Int64($0) }
        memoryAnonPeakBytes = values["memory_anon_peak_bytes"].flatMap { Int64($0) }
    }
}

/// `key=value` lines of the agent; the text comes from a guest, so only its first 64 lines of at most 256 bytes count.
enum KeyValues {
    static func parse(_ text: String) -> [String: String] {
        var values: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline).prefix(64) where line.utf8.count <= 256 {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { values[String(parts[0])] = String(parts[1]) }
        }
        return values
    }
}
