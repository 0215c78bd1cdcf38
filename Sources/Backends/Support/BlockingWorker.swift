import Abstractions
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// One thread that serves one C handle: every job runs there, in order, never on the cooperative pool.
///
/// Thread-local state of a C library (libvirt's last error) is therefore read on the thread that made it. A deadline abandons
/// the job, it does not await it: the worker is then wedged, and every later call throws `timeout` at once.
public final class BlockingWorker: Sendable {
    private struct State {
        var jobs: [@Sendable () -> Void] = []
        var isClosed = false
        var isWedged = false
    }
    private let name: String
    private let state = Mutex(State())
    private let wake: ThreadCondition

    /// Starts the thread.
    public init(_ name: String) {
        self.name = name
        wake = ThreadCondition()
        startThread { [self] in loop() }
    }

    /// Runs `body` on the thread and returns what it returns.
    ///
    /// - Throws: what `body` throws; `timeout` when `CallDeadline.current` passes first.
    public func call<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        if state.withLock({ $0.isWedged }) {
            throw BackendError(.timeout, operation, "an earlier call of \(name) still hangs", retry: .reopen)
        }
        return try await abandoning(operation) { finish in
            let queued = self.state.withLock { state in
                if !state.isClosed { state.jobs.append { finish(Result(catching: body)) } }
                return !state.isClosed
            }
            if queued {
                self.wake.signal()
            } else {
                finish(.failure(BackendError(.invalidState, operation, "\(self.name) is closed")))
            }
        } onTimeout: {
            self.state.withLock { $0.isWedged = true }
        }
    }

    /// Runs `body` on the thread after the jobs already queued, even behind one that hangs; nobody waits for it. Dropped when closed.
    public func enqueue(_ body: @escaping @Sendable () -> Void) {
        state.withLock { if !$0.isClosed { $0.jobs.append(body) } }
        wake.signal()
    }

    /// Runs cleanup on the thread once it is free, even after a call that was abandoned.
    ///
    /// - Returns: whether it ran within the limit; if not, it still runs when the thread comes back.
    public func cleanUp(within limit: Duration, _ body: @escaping @Sendable () -> Void) async -> Bool {
        do {
            try await CallDeadline.$current.withValue(.now + limit) {
                try await abandoning("close") { finish in
                    state.withLock { state in
                        state.jobs.append {
                            body()
                            finish(.success(()))
                        }
                    }
                    wake.signal()
                }
            }
            return true
        } catch {
            return false
        }
    }

    /// Whether a call was abandoned and may still hang.
    public var isWedged: Bool { state.withLock { $0.isWedged } }

    /// Ends the thread after the jobs already queued; idempotent.
    public func close() {
        state.withLock { $0.isClosed = true }
        wake.signal()
    }

    private func loop() {
        while true {
            let (job, ended) = state.withLock { state in
                (state.jobs.isEmpty ? nil : state.jobs.removeFirst(), state.isClosed)
            }
            if let job {
                job()
            } else if ended {
                return
            } else {
                wake.wait()
            }
        }
    }
}

/// Waits for `start`'s answer until `CallDeadline.current`; past it, or when the task is cancelled, the answer is abandoned.
///
/// - Throws: `timeout`, `CancellationError`, or what the answer holds.
public func abandoning<Value: Sendable>(
    _ operation: String, start: (@escaping @Sendable (Result<Value, any Error>) -> Void) -> Void,
    onTimeout: @escaping @Sendable () -> Void = {}
) async throws -> Value {
    let race = Race<Value>()
    let timer = CallDeadline.current.map { deadline in
        Task {
            try await ContinuousClock.wait(until: deadline)
            let failure = BackendError(
                .timeout, operation, "\(operation) did not answer before its deadline", retry: .reopen)
            if race.finish(.failure(failure)) { onTimeout() }
        }
    }
    defer { timer?.cancel() }
    start { race.finish($0) }
    return try await withTaskCancellationHandler {
        try await race.value()
    } onCancel: {
        race.finish(.failure(CancellationError()))
    }
}

/// The first answer wins, later ones are dropped.
private final class Race<Value: Sendable>: Sendable {
    private struct State {
        var result: Result<Value, any Error>?
        var waiter: CheckedContinuation<Value, any Error>?
    }
    private let state = Mutex(State())

    @discardableResult
    func finish(_ result: Result<Value, any Error>) -> Bool {
        let (won, waiter) = state.withLock { state -> (Bool, CheckedContinuation<Value, any Error>?) in
            guard state.result == nil else { return (false, nil) }
            state.result = result
            defer { state.waiter = nil }
            return (true, state.waiter)
        }
        waiter?.resume(with: result)
        return won
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
