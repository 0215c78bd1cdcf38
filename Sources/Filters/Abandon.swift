import Abstractions
import Synchronization

/// Waits for `body`, but not longer than `limit`: what takes longer goes on alone, and nobody waits for it.
func bounded(_ limit: Duration, _ body: @escaping @Sendable () async -> Void) async {
    _ = try? await abandoning(after: limit) {
        await body()
    } onTimeout: {
        BackendError(.timeout, "filter", "abandoned")
    }
}

/// Waits for `body` until the limit or until the caller's task is cancelled; then `body` is cancelled and abandoned.
///
/// A task group would wait for `body` in spite of its timeout, and a stuck C call never ends.
/// - Throws: what `body` throws, what `onTimeout` makes, or `CancellationError`.
func abandoning<Value: Sendable>(
    after limit: Duration, _ body: @escaping @Sendable () async throws -> Value,
    onTimeout: @escaping @Sendable () -> BackendError
) async throws -> Value {
    let race = FirstAnswer<Value>()
    let work = Task {
        do {
            race.finish(.success(try await body()))
        } catch {
            race.finish(.failure(error))
        }
    }
    let timer = Task {
        try await ContinuousClock.wait(until: .now + limit)
        race.finish(.failure(onTimeout()))
        work.cancel()
    }
    defer { timer.cancel() }
    return try await withTaskCancellationHandler {
        try await race.value()
    } onCancel: {
        work.cancel()
        race.finish(.failure(CancellationError()))
    }
}

/// The first answer wins, later ones are dropped.
private final class FirstAnswer<Value: Sendable>: Sendable {
    private struct State {
        var result: Result<Value, any Error>?
        var waiter: CheckedContinuation<Value, any Error>?
    }
    private let state = Mutex(State())

    func finish(_ result: Result<Value, any Error>) {
        let waiter = state.withLock { state -> CheckedContinuation<Value, any Error>? in
            guard state.result == nil else { return nil }
            state.result = result
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(with: result)
    }

    func value() async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let ready = state.withLock { state -> Result<Value, any Error>? in
                if state.result == nil { state.waiter = continuation }
                return state.result
            }
            if let ready { continuation.resume(with: ready) }
        }
    }
}
