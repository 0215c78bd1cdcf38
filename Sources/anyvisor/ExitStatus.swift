import Abstractions
import ArgumentParser

/// The exit statuses of DESIGN section 4, decided in one place.
enum ExitStatus {
    static let success: Int32 = 0
    static let taskFailed: Int32 = 1
    static let usage: Int32 = 2
    static let backend: Int32 = 16
    static let temporary: Int32 = 75
    static let interrupted: Int32 = 130

    /// The status that an error ends the program with.
    static func status(of error: BackendError) -> Int32 {
        switch error.code {
        case .invalidArgument, .invalidState: usage
        case .notFound where error.blame != .backend: usage
        case .notFound, .alreadyExists: usage
        case .inUse: temporary
        case .cancelled: interrupted
        default: error.retry == .backoff ? temporary : backend
        }
    }

    /// Says the error on standard error and returns the status to end with.
    static func report(_ error: any Error) -> Int32 {
        if let code = error as? ExitCode { return code.rawValue }
        if !(error is BackendError || error is CancellationError) {
            // The parser's own: help that was asked for, or a usage that it refused.
            if Anyvisor.exitCode(for: error) == .success { Anyvisor.exit(withError: error) }
            if Anyvisor.exitCode(for: error) == .validationFailure {
                Terminal.talk(Anyvisor.fullMessage(for: error))
                return usage
            }
        }
        let known = BackendError.wrapping(error, "anyvisor")
        Terminal.talk("anyvisor: \(known)")
        return status(of: known)
    }
}
