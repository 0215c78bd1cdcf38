import Abstractions
import Synchronization

/// Makes chosen operations fail or wait, for tests.
public final class FaultFilter: Interceptor {
    /// One fault.
    public struct Fault: Sendable {
        /// The operation's name on the plugin wire.
        public var operation: String
        /// Which call of it, counted from 1; nil: every one.
        public var call: Int?
        /// What happens.
        public var effect: Effect

        /// Plans a fault.
        public init(_ operation: String, call: Int? = nil, _ effect: Effect) {
            self.operation = operation
            self.call = call
            self.effect = effect
        }
    }

    /// What a fault does.
    public enum Effect: Sendable {
        /// Throws instead of doing it.
        case fail(BackendError)
        /// Does it, then throws: the answer is lost.
        case failAfter(BackendError)
        /// Never ends, and does not mind being cancelled.
        case hang
        /// Waits for a function before doing it.
        case wait(@Sendable () async -> Void)
    }

    private let faults: [Fault]
    private let counts = Mutex<[String: Int]>([:])

    /// Plans faults; the first that fits a call counts.
    public init(_ faults: [Fault]) { self.faults = faults }

    /// How often each operation was called.
    public var calls: [String: Int] { counts.withLock { $0 } }

    /// See `Interceptor`.
    public func around<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let count = counts.withLock { counts in
            counts[operation, default: 0] += 1
            return counts[operation] ?? 0
        }
        let fault = faults.first { $0.operation == operation && ($0.call ?? count) == count }
        switch fault?.effect {
        case .fail(let error): throw error
        case .failAfter(let error):
            _ = try await body()
            throw error
        case .hang:
            // Cancelling the caller does not end a stuck C call either.
            await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
            return try await body()
        case .wait(let gate): await gate()
        case nil: break
        }
        return try await body()
    }
}
