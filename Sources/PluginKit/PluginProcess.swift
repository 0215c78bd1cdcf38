import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// One life of a plugin's process: its pipes, its calls under way, its death.
///
/// A call fails with `crashed` only after the process is really gone, so whatever it had locked is free by then. Only a process
/// that the kernel does not let die within five seconds is given up, and the error says so.
final class PluginProcess: Sendable {
    let name: String
    let child: ChildProcess
    let outgoing: OutgoingLines
    let state = Mutex(State())
    let errorTail = Mutex<[UInt8]>([])
    /// Held while the child is signalled or reaped, so that no signal goes to a later process with its number.
    let isReaped = Mutex(false)
    let scope: RunScope?
    private let instance: String
    private let incoming: LineChannel

    struct State {
        var nextID = 1
        var pending: [Int: PendingCall] = [:]
        var events: [String: [Int: AsyncStream<MachineEvent>.Continuation]] = [:]
        /// The last event of machines that are gone, for streams that begin later.
        var lastEvents: [String: MachineEvent] = [:]
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

        mutating func newID() -> Int {
            defer { nextID += 1 }
            return nextID
        }
    }

    /// Starts the program; answers come once `handshake` has.
    ///
    /// - Throws: `unavailable` when it cannot be started.
    init(_ launch: PluginLaunch) throws {
        name = launch.name
        scope = launch.scope
        instance = launch.instance
        do {
            child = try ChildProcess(
                launch.program, launch.arguments, environment: launch.environment, input: .pipe)
        } catch {
            throw BackendError(
                .unavailable, "plugin.start", "plugin '\(launch.name)' cannot be started",
                backend: launch.name, causes: [BackendError.wrapping(error, "plugin.start")])
        }
        incoming = LineChannel(input: child.output, output: -1)
        outgoing = OutgoingLines(child.input)
    }

    /// Starts the threads that move the plugin's lines and wait for its end.
    func begin() {
        let readers = [
            Task { await onOwnThread { [self] in readErrors() } },
            Task {
                let problem = await onOwnThread { [self] in incoming.readLines { receive($0) } }
                await outputEnded(problem)
            },
        ]
        let writer = Task { await onOwnThread { [self] in outgoing.run() } }
        Task { await awaitEnd(readers, writer) }
    }

    /// Waits for the first line.
    ///
    /// - Throws: `protocolViolation` for another first line or version, `crashed`, `timeout`.
    func handshake(within limit: Duration) async throws -> Handshake {
        let timer = Task {
            try await ContinuousClock.wait(until: .now + limit)
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
    /// - Throws: what the plugin answers; `timeout`, `crashed`, `protocolViolation`, `CancellationError`.
    func call<Parameters: Codable & Sendable, Result: Codable & Sendable>(
        _ method: String, _ parameters: Parameters, _ patience: Patience, progress: ProgressSink = .none,
        as type: Result.Type = Result.self
    ) async throws -> Result {
        let id = state.withLock { $0.newID() }
        let request = try Wire.encode(Wire.Request(id: id, method: method, params: parameters))
        do {
            let line = try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    register(id, PendingCall(continuation: continuation, progress: progress), request)
                    watch(id, method, patience)
                    if Task.isCancelled { cancelled(id) }
                }
            } onCancel: {
                cancelled(id)
            }
            return try Wire.decode(Wire.Answer<Result>.self, line).result
        } catch let error as BackendError {
            let known = filledIn(error, method)
            // Whoever is wedged may hold locks: it must be gone before anybody else tries.
            if known.code == .protocolViolation || known.code == .timeout && known.retry == .reopen {
                await kill(known)
            } else if known.code == .cancelled && Task.isCancelled {
                throw CancellationError()
            }
            throw known
        }
    }

    /// A small plugin says only what went wrong; where it did is known here.
    private func filledIn(_ error: BackendError, _ method: String) -> BackendError {
        var known = error.named(name)
        if known.operation.isEmpty { known.operation = method }
        return known
    }

    /// Tells the plugin that a handle is not needed any more.
    func release(_ handle: String) {
        state.withLock { _ = $0.lastEvents.removeValue(forKey: handle) }
        notify("$/release", HandleParameters(handle: handle, deadlineMs: nil))
    }

    var isDead: Bool { state.withLock { $0.death != nil } }

    /// The end of its standard error and of what it logged.
    var errors: String { String(decoding: errorTail.withLock { $0 }, as: UTF8.self) }

    func notify(_ method: String, _ parameters: some Codable & Sendable) {
        if let line = try? Wire.encode(Wire.Request(id: nil, method: method, params: parameters)) {
            outgoing.send(line)
        }
    }

    /// Kills what left the plugin's group: a FUSE server, an appliance; blocks until it is gone, at most for that time.
    func killStragglers(awaiting limit: Duration = .zero) {
        let all = ProcessIdentity.all(withVariable: Wire.instance, instance)
        ProcessIdentity.end(all.filter { $0.pid != child.pid }, within: limit)
    }

    private func register(_ id: Int, _ call: PendingCall, _ request: [UInt8]) {
        let death = state.withLock { state -> BackendError? in
            if state.death == nil { state.pending[id] = call }
            return state.death
        }
        if let death { return call.continuation.resume(throwing: death) }
        outgoing.send(request)
    }
}

extension Feature {
    /// The plugin sends a progress notification at least once a second while a call is under way.
    static let pulse: Feature = "pulse"
}

/// A call that waits for its answer.
struct PendingCall {
    var continuation: CheckedContinuation<[UInt8], any Error>
    var progress: ProgressSink
    var lastProgress = ContinuousClock.now
    var watch: Task<Void, Never>?
}
