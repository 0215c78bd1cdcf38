import Synchronization

/// Runs asynchronous work to its end from a thread that may block, such as a `BlockingWorker`'s; never call it from the cooperative
/// pool.
///
/// - Throws: what `body` throws.
public func waiting<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    let result = Mutex<Result<Value, any Error>?>(nil)
    let done = ThreadCondition()
    Task {
        let outcome: Result<Value, any Error>
        do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
        result.withLock { $0 = outcome }
        done.signal()
    }
    while true {
        done.wait()
        if let outcome = result.withLock({ $0 }) { return try outcome.get() }
    }
}
