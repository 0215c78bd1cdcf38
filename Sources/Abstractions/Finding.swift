/// How deep a check goes.
public enum CheckDepth: String, Sendable, Codable, Hashable {
    /// Looks whether the pieces are there; fast.
    case presence
    /// Does the real thing once.
    case proof
}

/// One line of a check's answer.
public struct Finding: Sendable, Codable, Hashable {
    /// What was looked at, for example `qemu-system-x86_64`.
    public var subject: String
    /// Whether it is as it should be.
    public var status: Status
    /// What was found, with a version where there is one.
    public var detail: String
    /// The command or step that cures it, or what to use instead; nil when nothing has to be done.
    public var remedy: String?

    /// Whether the backend cannot work because of it.
    public var isObstacle: Bool { status == .bad || status == .impossible }

    /// Notes a finding.
    public init(_ subject: String, _ status: Status, _ detail: String, remedy: String? = nil) {
        self.subject = subject
        self.status = status
        self.detail = detail
        self.remedy = remedy
    }

    /// The weight of a finding.
    public enum Status: String, Sendable, Codable, Hashable {
        /// As it should be.
        case good
        /// Works, with a restriction.
        case warning
        /// The backend cannot work like this; the remedy says what cures it.
        case bad
        /// The backend cannot work here, and nothing that is done on this host cures it.
        case impossible
    }
}

/// Whether a disk backend can open an image.
public struct Suitability: Sendable, Codable, Hashable {
    /// 0 cannot, 100 made for it.
    public var score: Int
    /// Why the score is what it is.
    public var reason: String
    /// Notes the score, kept within 0 to 100.
    public init(score: Int, reason: String) {
        self.score = min(100, max(0, score))
        self.reason = reason
    }
}

/// How far a copy has come.
public struct TransferProgress: Sendable, Codable, Hashable {
    /// Bytes of file content copied so far; never goes back.
    public var bytes: Int64
    /// Files copied so far; never goes back.
    public var files: Int64
    /// Bytes to copy in all, when it is known.
    public var totalBytes: Int64?
    /// Notes how far it has come.
    public init(bytes: Int64, files: Int64, totalBytes: Int64? = nil) {
        self.bytes = bytes
        self.files = files
        self.totalBytes = totalBytes
    }
}

/// Where progress goes: a side channel, synchronous and lossy; the operation's result never depends on it.
public struct ProgressSink: Sendable {
    /// Called now and then, on any thread, in order.
    public let report: @Sendable (TransferProgress) -> Void
    /// Wraps a function that must return at once.
    public init(_ report: @escaping @Sendable (TransferProgress) -> Void) { self.report = report }
    /// Drops everything.
    public static let none = ProgressSink { _ in }
}
