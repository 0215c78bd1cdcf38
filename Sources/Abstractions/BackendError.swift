/// The one error type that crosses a backend's boundary, in process or over the plugin wire.
///
/// Messages are lower case, name the object and say the remedy. A guest's non-zero exit is a result, never an error.
public struct BackendError: Error, Sendable, Codable, Hashable {
    /// What went wrong, for programs.
    public var code: Code
    /// The operation that failed, for example `disk.open`.
    public var operation: String
    /// One sentence for people: lower case, names the object, says the remedy.
    public var message: String
    /// Name of the backend that failed, when it is known.
    public var backend: String?
    /// Whose fault it is.
    public var blame: Blame
    /// Whether trying again can help.
    public var retry: Retry
    /// The error of the library below, kept as it came.
    public var native: NativeError?
    /// What led to this error, most direct first.
    public var causes: [BackendError]
    /// The end of a console or of a standard error, keyed by its name.
    public var evidence: [String: String]

    /// Makes an error; `blame` and `retry` default to what the code implies.
    public init(
        _ code: Code, _ operation: String, _ message: String, backend: String? = nil, blame: Blame? = nil,
        retry: Retry = .never, native: NativeError? = nil, causes: [BackendError] = [],
        evidence: [String: String] = [:]
    ) {
        self.code = code
        self.operation = operation
        self.message = message
        self.backend = backend
        self.blame = blame ?? code.usualBlame
        self.retry = retry
        self.native = native
        self.causes = causes
        self.evidence = evidence
    }

    private enum CodingKeys: String, CodingKey {
        case code, operation, message, backend, blame, retry, native, causes, evidence
    }

    /// Reads an error; only `code` and `message` must be there, so that a small plugin can say little.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            try container.decode(Code.self, forKey: .code),
            try container.decodeIfPresent(String.self, forKey: .operation) ?? "",
            try container.decode(String.self, forKey: .message),
            backend: try container.decodeIfPresent(String.self, forKey: .backend),
            blame: try container.decodeIfPresent(Blame.self, forKey: .blame),
            retry: try container.decodeIfPresent(Retry.self, forKey: .retry) ?? .never,
            native: try container.decodeIfPresent(NativeError.self, forKey: .native),
            causes: try container.decodeIfPresent([BackendError].self, forKey: .causes) ?? [],
            evidence: try container.decodeIfPresent([String: String].self, forKey: .evidence) ?? [:])
    }

    /// An open set of codes: an unknown one from a newer plugin is kept as it is.
    public struct Code: RawRepresentable, Sendable, Codable, Hashable {
        /// The code as it stands on the wire.
        public var rawValue: String
        /// Wraps any code, known or not.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// Reads the bare string.
        public init(from decoder: any Decoder) throws {
            rawValue = try decoder.singleValueContainer().decode(String.self)
        }
        /// Writes the bare string.
        public func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode(rawValue)
        }
        /// The backend cannot do this at all.
        public static let unsupported = Code(rawValue: "unsupported")
        /// The backend, its library or its service is not here now.
        public static let unavailable = Code(rawValue: "unavailable")
        /// The named object does not exist.
        public static let notFound = Code(rawValue: "notFound")
        /// The named object exists already.
        public static let alreadyExists = Code(rawValue: "alreadyExists")
        /// Somebody else holds the object.
        public static let inUse = Code(rawValue: "inUse")
        /// The host's permissions refuse it.
        public static let permissionDenied = Code(rawValue: "permissionDenied")
        /// The host's or the image's file system is full.
        public static let noSpace = Code(rawValue: "noSpace")
        /// The image or its file system is damaged.
        public static let corrupt = Code(rawValue: "corrupt")
        /// A deadline passed.
        public static let timeout = Code(rawValue: "timeout")
        /// The backend's process died.
        public static let crashed = Code(rawValue: "crashed")
        /// A plugin spoke something that is not the protocol.
        public static let protocolViolation = Code(rawValue: "protocolViolation")
        /// The caller passed something that cannot be.
        public static let invalidArgument = Code(rawValue: "invalidArgument")
        /// The method is not legal in the object's state.
        public static let invalidState = Code(rawValue: "invalidState")
        /// A limit of the copy policy was reached.
        public static let quotaExceeded = Code(rawValue: "quotaExceeded")
        /// The caller cancelled.
        public static let cancelled = Code(rawValue: "cancelled")
        /// A bug of ours or an error nobody has classified.
        public static let `internal` = Code(rawValue: "internal")

        var usualBlame: Blame {
            switch self {
            case .invalidArgument, .invalidState, .cancelled: .caller
            case .noSpace, .permissionDenied: .host
            case .corrupt: .disk
            default: .backend
            }
        }

        /// Whether the next backend of a chain may do the same operation again from its beginning.
        public var fallsThrough: Bool {
            [.unsupported, .unavailable, .crashed, .timeout, .protocolViolation].contains(self)
        }
    }

    /// Whose fault an error is.
    public enum Blame: String, Sendable, Codable, Hashable, CaseIterable {
        /// The user's task.
        case task
        /// The guest system.
        case guest
        /// The backend or its process.
        case backend
        /// The disk image.
        case disk
        /// This host.
        case host
        /// Whoever called.
        case caller
    }

    /// Whether trying the operation again can help.
    public enum Retry: String, Sendable, Codable, Hashable, CaseIterable {
        /// It will fail again.
        case never
        /// Try again after a while.
        case backoff
        /// Open the object again first.
        case reopen
    }

    /// The error of a C library, as it came.
    public struct NativeError: Sendable, Codable, Hashable {
        /// The library's own domain, for example `libvirt:20` or `errno`.
        public var domain: String
        /// The library's own number.
        public var code: Int
        /// The library's own text.
        public var text: String
        /// Keeps the three.
        public init(domain: String, code: Int, text: String) {
            self.domain = domain
            self.code = code
            self.text = text
        }
    }
}

extension BackendError: CustomStringConvertible {
    /// The message with its native text and causes as an indented tree.
    public var description: String { describe(indent: "") }

    private func describe(indent: String) -> String {
        var text = indent + (backend.map { "\($0): " } ?? "") + "\(message) [\(code.rawValue), \(operation)]"
        if let native, !native.text.isEmpty, !message.contains(native.text) {
            text += "\n\(indent)  \(native.domain) \(native.code): \(native.text)"
        }
        for cause in causes { text += "\n" + cause.describe(indent: indent + "  ") }
        return text
    }

    /// This error with `backend` filled in where nobody has done so.
    public func named(_ backend: String) -> BackendError {
        var copy = self
        copy.backend = copy.backend ?? backend
        return copy
    }

    /// This error with another attached as a cause; the body's error wins, the cleanup's is attached.
    public func caused(by cause: BackendError) -> BackendError {
        var copy = self
        copy.causes.append(cause)
        return copy
    }

    /// Any error as a `BackendError`: itself, `cancelled`, or `internal` with its text.
    public static func wrapping(_ error: any Error, _ operation: String) -> BackendError {
        if let known = error as? BackendError { return known }
        if error is CancellationError { return BackendError(.cancelled, operation, "cancelled by the caller") }
        return BackendError(.internal, operation, "\(error)")
    }
}
