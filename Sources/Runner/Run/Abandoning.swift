import Abstractions
import Synchronization

/// Runs `body` until a deadline and then goes on without it: a stuck call is abandoned, never awaited.
///
/// `body` sees the deadline as `CallDeadline.current` and gets one more second to say itself what is late. When the caller is
/// cancelled, `body` is cancelled and has five seconds to end.
/// - Throws: what `body` throws, `late` at the deadline, `CancellationError`.
func abandoning<Value: Sendable>(
    at deadline: ContinuousClock.Instant, _ late: BackendError,
    _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    let race = Race<Value>()
    let work = Task {
        do {
            let value = try await CallDeadline.$current.withValue(deadline) { try await body() }
            race.end(.success(value))
        } catch {
            race.end(.failure(error))
        }
    }
    let timer = Task {
        try await ContinuousClock.wait(until: deadline + .seconds(1))
        work.cancel()
        race.end(.failure(late))
    }
    defer { timer.cancel() }
    return try await withTaskCancellationHandler {
        try await race.value()
    } onCancel: {
        work.cancel()
        Task {
            try? await Task.sleep(for: .seconds(5))
            race.end(.failure(CancellationError()))
        }
    }
}

/// The first of several endings, for one waiter.
private final class Race<Value: Sendable>: Sendable {
    private enum State {
        case open
        case waiting(CheckedContinuation<Value, any Error>)
        case ended(Result<Value, any Error>)
    }

    private let state = Mutex(State.open)

    func end(_ result: Result<Value, any Error>) {
        let waiter: CheckedContinuation<Value, any Error>? = state.withLock {
            switch $0 {
            case .open:
                $0 = .ended(result)
                return nil
            case .waiting(let waiter):
                $0 = .ended(result)
                return waiter
            case .ended: return nil
            }
        }
        waiter?.resume(with: result)
    }

    func value() async throws -> Value {
        try await withCheckedThrowingContinuation { waiter in
            let result: Result<Value, any Error>? = state.withLock {
                if case .ended(let result) = $0 { return result }
                $0 = .waiting(waiter)
                return nil
            }
            if let result { waiter.resume(with: result) }
        }
    }
}
