import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// One life of a plugin's process: its pipes, its calls under way, its death.
///
/// A call fails with `crashed` only after the process is really gone, so whatever it had locked is free by then.
final class PluginProcess: Sendable {
    let name: String
    private let child: ChildProcess
    private let channel: LineChannel
    private let instance: String
    private let state = Mutex(State())
    private let errorTail = Mutex<[UInt8]>([])

    private struct State {
        var nextID = 1
        var pending: [Int: PendingCall] = [:]
        var events: [String: AsyncStream<MachineEvent>.Continuation] = [:]
        var lastSign = ContinuousClock.now
        var handshake: Result<Handshake, BackendError>?
        var handshakeWaiter: CheckedContinuation<Handshake, any Error>?
        /// Why we are about to kill it, when it is our decision.
        var verdict: BackendError?
        var death: BackendError?
        var deathWaiters: [CheckedContinuation<Void, Never>] = []
        var isClosing = false

        /// Whether it promised a sign of life each second while a call is under way.
        var pulses: Bool {
            if case .success(let handshake) = handshake { return handshake.features.contains(.pulse) }
            return false
        }
    }

    /// Starts the program; answers come once `handshake` has.
    ///
    /// - Throws: `unavailable` when it cannot be started.
    init(_ launch: PluginLaunch) throws {
        name = launch.name
        instance = launch.instance
        do {
            child = try ChildProcess(
                launch.program, launch.arguments, environment: launch.environment, input: .pipe)
        } catch {
            throw BackendError(
                .unavailable, "plugin.start", "plugin '\(launch.name)' cannot be started",
                backend: launch.name, causes: [BackendError.wrapping(error, "plugin.start")])
        }
        channel = LineChannel(input: child.output, output: child.input)
    }

    /// Starts the threads that read the plugin's lines and its standard error.
    func begin() {
        Task { await onOwnThread { [self] in readErrors() } }
        Task {
            let problem = await onOwnThread { [self] in channel.readLines { receive($0) } }
            await end(problem)
        }
    }

    /// Waits for the first line.
    ///
    /// - Throws: `protocolViolation` for another first line or version, `crashed`, `timeout`.
    func handshake(within limit: Duration) async throws -> Handshake {
        let timer = Task {
            try await Task.sleep(for: limit)
            await kill(
                BackendError(
                    .timeout, "handshake", "plugin '\(name)' did not greet within \(limit.inSeconds) s", backend: name))
        }
        defer { timer.cancel() }
        let handshake = try await withCheckedThrowingContinuation { continuation in
            let ready = state.withLock { state -> Result<Handshake, BackendError>? in
                if let death = state.death { return .failure(death) }
                if state.handshake == nil { state.handshakeWaiter = continuation }
                return state.handshake
            }
            if let ready { continuation.resume(with: ready.mapError { $0 as any Error }) }
        }
        try handshake.check()
        return handshake
    }

    /// Sends a request and waits for its answer.
    ///
    /// - Throws: what the plugin answers; `timeout`, `crashed`, `protocolViolation`, `cancelled`.
    func call<Parameters: Codable & Sendable, Result: Codable & Sendable>(
        _ method: String, _ parameters: Parameters, _ patience: Patience, progress: ProgressSink = .none,
        as type: Result.Type = Result.self
    ) async throws -> Result {
        let id = state.withLock { state in
            defer { state.nextID += 1 }
            return state.nextID
        }
        let request = try Wire.encode(Wire.Request(id: id, method: method, params: parameters))
        let watch = Task { await self.watch(id, method, patience) }
        defer { watch.cancel() }
        do {
            let line = try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    register(id, PendingCall(continuation: continuation, progress: progress), request)
                }
            } onCancel: {
                Task { await self.cancelled(id) }
            }
            try Task.checkCancellation()
            return try Wire.decode(Wire.Answer<Result>.self, line).result
        } catch let error as BackendError where error.code == .timeout || error.code == .protocolViolation {
            // Whoever is wedged may hold locks: it must be gone before anybody else tries.
            await kill(error)
            throw error.named(name)
        } catch let error as BackendError {
            throw error.named(name)
        }
    }

    /// Events of a machine from now on.
    func events(_ handle: String) -> AsyncStream<MachineEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: MachineEvent.self, bufferingPolicy: .bufferingNewest(256))
        let death = state.withLock { state -> BackendError? in
            if state.death == nil {
                state.events[handle]?.finish()
                state.events[handle] = continuation
            }
            return state.death
        }
        if let death {
            continuation.yield(.lost(death))
            continuation.finish()
        }
        return stream
    }

    var isDead: Bool { state.withLock { $0.death != nil } }

    /// The end of its standard error.
    var errors: String { String(decoding: errorTail.withLock { $0 }, as: UTF8.self) }

    /// Ends its input, which asks it to release everything; kills it after seven seconds.
    func close() async {
        let first = state.withLock { state in
            defer { state.isClosing = true }
            return !state.isClosing && state.death == nil
        }
        guard first else { return await death() }
        shutdownInput()
        let timer = Task {
            try await Task.sleep(for: .seconds(7))
            signalAll(SIGKILL)
        }
        await death()
        timer.cancel()
    }

    /// Kills it and all that it started: TERM, then KILL; returns when it is gone.
    func kill(_ verdict: BackendError) async {
        state.withLock { state in
            if state.verdict == nil { state.verdict = verdict }
        }
        if isDead { return }
        signalAll(SIGTERM)
        let timer = Task {
            try await Task.sleep(for: .milliseconds(300))
            signalAll(SIGKILL)
        }
        await death()
        timer.cancel()
    }

    // MARK: - Reading

    private func receive(_ line: [UInt8]) {
        state.withLock { $0.lastSign = .now }
        if state.withLock({ $0.handshake == nil }) {
            settleHandshake(
                Result { try Wire.decode(Handshake.self, line) }.mapError { BackendError.wrapping($0, "handshake") })
            return
        }
        guard let header = try? Wire.decode(Wire.Header.self, line) else { return violated(line) }
        if let id = header.id, header.method == nil {
            guard let call = state.withLock({ $0.pending.removeValue(forKey: id) }) else { return }
            if let failure = header.error {
                call.continuation.resume(
                    throwing: failure.data ?? BackendError(.internal, "plugin", failure.message, backend: name))
            } else {
                call.continuation.resume(returning: line)
            }
            return
        }
        switch header.method {
        case "$/progress": noteProgress(line)
        case "$/event": deliver(line)
        case "$/log": break
        default: violated(line)
        }
    }

    private func noteProgress(_ line: [UInt8]) {
        guard let notice = try? Wire.decode(Wire.Request<ProgressNotice>.self, line).params,
            let progress = notice.progress
        else { return }
        let sink = state.withLock { state -> ProgressSink? in
            state.pending[notice.id]?.lastProgress = .now
            return state.pending[notice.id]?.progress
        }
        sink?.report(progress)
    }

    private func deliver(_ line: [UInt8]) {
        guard let notice = try? Wire.decode(Wire.Request<EventNotice>.self, line).params else { return violated(line) }
        let continuation = state.withLock { $0.events[notice.handle] }
        continuation?.yield(notice.event)
        switch notice.event {
        case .gone, .lost:
            continuation?.finish()
            state.withLock { _ = $0.events.removeValue(forKey: notice.handle) }
        case .state: break
        }
    }

    private func violated(_ line: [UInt8]) {
        let start = String(decoding: line.prefix(200), as: UTF8.self)
        let verdict = BackendError(
            .protocolViolation, "wire", "plugin '\(name)' wrote something that is not the protocol: \(start)",
            backend: name)
        Task { await kill(verdict) }
    }

    private func settleHandshake(_ result: Result<Handshake, BackendError>) {
        let waiter = state.withLock { state -> CheckedContinuation<Handshake, any Error>? in
            guard state.handshake == nil else { return nil }
            state.handshake = result
            defer { state.handshakeWaiter = nil }
            return state.handshakeWaiter
        }
        waiter?.resume(with: result.mapError { $0 as any Error })
    }

    private func readErrors() {
        var chunk = [UInt8](repeating: 0, count: 1 << 14)
        while true {
            let count = read(child.errors, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            errorTail.withLock { tail in
                tail.append(contentsOf: chunk[..<count])
                if tail.count > 8 << 10 { tail.removeFirst(tail.count - (8 << 10)) }
            }
        }
    }

    // MARK: - Ending

    private func register(_ id: Int, _ call: PendingCall, _ request: [UInt8]) {
        let death = state.withLock { state -> BackendError? in
            if state.death == nil { state.pending[id] = call }
            return state.death
        }
        if let death { return call.continuation.resume(throwing: death) }
        // When writing fails the plugin is dying, and its death answers the call.
        try? channel.write(request)
    }

    private func watch(_ id: Int, _ method: String, _ patience: Patience) async {
        let started = ContinuousClock.now
        while !Task.isCancelled {
            let (lastSign, pending, pulses) = state.withLock { state in
                (state.lastSign, state.pending[id], state.pulses)
            }
            guard let pending else {
                // Not registered yet, or answered: the caller cancels this watch in the second case.
                try? await Task.sleep(for: .milliseconds(5))
                continue
            }
            guard
                let (due, reason) = patience.next(
                    started: started, lastSign: pulses ? max(lastSign, started) : nil,
                    lastProgress: max(pending.lastProgress, started))
            else { return }
            if due <= ContinuousClock.now { return await expire(id, method, reason) }
            try? await Task.sleep(until: due, clock: .continuous)
        }
    }

    private func expire(_ id: Int, _ method: String, _ reason: String) async {
        if let line = try? Wire.encode(Wire.Request(id: nil, method: "$/cancel", params: CancelNotice(id: id))) {
            try? channel.write(line)
        }
        await kill(BackendError(.timeout, method, "plugin '\(name)' \(reason)", backend: name, retry: .reopen))
    }

    private func cancelled(_ id: Int) async {
        guard state.withLock({ $0.pending[id] != nil }) else { return }
        if let line = try? Wire.encode(Wire.Request(id: nil, method: "$/cancel", params: CancelNotice(id: id))) {
            try? channel.write(line)
        }
        try? await Task.sleep(for: .seconds(2))
        if state.withLock({ $0.pending[id] != nil }) {
            await kill(BackendError(.cancelled, "plugin", "cancelled by the caller", backend: name))
        }
    }

    /// Runs when its output has ended: makes sure that it is gone, then fails what still waits.
    private func end(_ problem: BackendError?) async {
        state.withLock { state in
            if state.verdict == nil, let problem { state.verdict = problem.named(name) }
        }
        if !state.withLock({ $0.isClosing }) { signalAll(SIGKILL) }
        let exit = await onOwnThread { [self] in child.wait() }
        killStragglers()
        await clearFolders()
        child.closePipes()
        settle(exit)
    }

    private func settle(_ exit: ProcessExit) {
        let (verdict, isClosing) = state.withLock { ($0.verdict, $0.isClosing) }
        var death =
            verdict
            ?? BackendError(
                .crashed, "plugin", "plugin '\(name)' \(isClosing ? "is closed" : "died (\(exit))")", backend: name,
                retry: .reopen)
        let tail = errors
        if !tail.isEmpty { death.evidence["stderr"] = tail }
        let (pending, events, waiters) = state.withLock { state in
            state.death = death
            defer {
                state.pending = [:]
                state.events = [:]
                state.deathWaiters = []
            }
            return (state.pending, state.events, state.deathWaiters)
        }
        settleHandshake(.failure(death))
        pending.values.forEach { $0.continuation.resume(throwing: death) }
        for continuation in events.values {
            continuation.yield(.lost(death))
            continuation.finish()
        }
        waiters.forEach { $0.resume() }
    }

    private func death() async {
        await withCheckedContinuation { continuation in
            let isDead = state.withLock { state in
                if state.death == nil { state.deathWaiters.append(continuation) }
                return state.death != nil
            }
            if isDead { continuation.resume() }
        }
    }

    private func signalAll(_ number: Int32) {
        child.signal(number)
        // A stopped process takes no TERM.
        if number == SIGTERM { child.signal(SIGCONT) }
    }

    /// Kills what left the plugin's group: a FUSE server, an appliance.
    private func killStragglers() {
        for process in ProcessIdentity.all(withVariable: Wire.instance, instance) { process.signal(SIGKILL) }
    }

    /// Takes away what it had mounted, and its temporary files. What stays is left to `reap`.
    private func clearFolders() async {
        let pid = child.pid
        await onOwnThread { try? RunScope.removeFolders(ofProcess: pid) }
    }

    private func shutdownInput() {
        // The descriptor itself stays open until the end, so that no other file gets its number meanwhile.
        let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
        dup2(null, child.input)
        Glibc.close(null)
    }
}

extension Feature {
    /// The plugin sends a progress notification at least once a second while a call is under way.
    static let pulse: Feature = "pulse"
}

/// A call that waits for its answer.
private struct PendingCall {
    var continuation: CheckedContinuation<[UInt8], any Error>
    var progress: ProgressSink
    var lastProgress = ContinuousClock.now
}
