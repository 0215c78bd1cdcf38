import Abstractions

/// A backend that was passed over, and why.
public struct Rejection: Sendable, Codable, Hashable {
    /// The backend's name.
    public var backend: String
    /// The error's code.
    public var code: BackendError.Code
    /// The error's message.
    public var message: String
    /// The operation that failed, by its name on the plugin wire, for example `writable.copyIn`.
    public var operation: String
    /// When: seconds since the log was made.
    public var seconds: Double
    /// How it failed, in a few words for a table, for example `process died`.
    public var how: String
    /// The whole error with its evidence.
    public var error: BackendError

    /// Notes a rejection.
    public init(_ error: BackendError, backend: String, operation: String, seconds: Double) {
        self.backend = backend
        code = error.code
        message = error.message
        self.operation = operation
        self.seconds = seconds
        how = Rejection.words(error.code)
        self.error = error
    }

    private static func words(_ code: BackendError.Code) -> String {
        switch code {
        case .unsupported: "cannot do it"
        case .unavailable: "not available"
        case .crashed: "process died"
        case .timeout: "gave no answer in time"
        case .protocolViolation: "broke the protocol"
        default: code.rawValue
        }
    }
}
