import Abstractions

/// Stands around every operation of a backend: delays it, fails it, or limits it.
///
/// Operations are called by their names on the plugin wire: `disk.open`, `session.commit`, `writable.copyIn`, `machine.start` ….
public protocol Interceptor: Sendable {
    /// Does the operation, or not.
    func around<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value
}
