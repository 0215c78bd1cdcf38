import Abstractions
import BackendSupport
import Host

/// Runs work that touches the host's files on a thread of its own, and waits until it has really ended.
///
/// Cancelling the task or passing the deadline sets the flag; the work then undoes what it made and throws.
/// - Throws: what `body` throws; `CancellationError` or `timeout` for a flag that was set.
func onThread<Value: Sendable>(
    _ operation: String, _ body: @escaping @Sendable (CancellationFlag) throws -> Value
) async throws -> Value {
    let flag = CancellationFlag()
    let timer = CallDeadline.current.map { deadline in
        Task {
            try await Task.sleep(until: deadline, clock: .continuous)
            flag.cancel()
        }
    }
    defer { timer?.cancel() }
    let result: Result<Value, any Error> = await withTaskCancellationHandler {
        await onOwnThread { Result { try body(flag) } }
    } onCancel: {
        flag.cancel()
    }
    do {
        return try result.get()
    } catch let error as CancellationError {
        if Task.isCancelled { throw error }
        throw BackendError(.timeout, operation, "\(operation) did not end before its deadline", retry: .reopen)
    }
}
