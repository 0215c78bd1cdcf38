import Abstractions

/// Gives every operation a deadline, and abandons the one that misses it.
///
/// The stuck call goes on alone, with all that it holds: its session must not be used again. `close` operations have a deadline
/// too. Where the caller has set a deadline already, the earlier one counts.
public struct DeadlineFilter: Interceptor {
    private let limit: @Sendable (String) -> Duration?

    /// - Parameter limit: the longest time for an operation by its name; nil: none.
    public init(_ limit: @escaping @Sendable (String) -> Duration?) { self.limit = limit }

    /// The same limit for every operation.
    public init(_ limit: Duration) { self.init { _ in limit } }

    /// See `Interceptor`.
    public func around<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let limits = [limit(operation), CallDeadline.remaining].compactMap { $0 }
        guard let shortest = limits.min() else { return try await body() }
        return try await CallDeadline.$current.withValue(.now + shortest) {
            try await abandoning(after: shortest, body) {
                BackendError(
                    .timeout, operation, "\(operation) did not end within \(shortest.inSeconds) s", retry: .reopen)
            }
        }
    }
}
