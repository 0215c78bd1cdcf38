import Abstractions
import Host
import Synchronization

/// What this process knows of one machine beyond what VirtualBox says; all handles of the machine share it.
final class MachineRecord: Sendable {
    /// The machine's name.
    let id: MachineID
    /// What VirtualBox calls it by; a later machine with the same name has another.
    let uuid: String
    /// Its folder.
    let folder: MachineFolder
    /// Its settings file, which goes when it does.
    let settings: HostPath
    /// The host file that receives its console, nil when nobody set one up.
    let console: HostPath?
    /// Lets one call at a time work on the machine.
    let turn = Turn()

    private struct State {
        var last: MachineState
        var process: ProcessIdentity?
        var answer: StateAnswer?
        var told = ContinuousClock.now
        var end: MachineEvent?
        var listeners: [Int: AsyncStream<MachineEvent>.Continuation] = [:]
        var next = 0
        var watcher: Task<Void, Never>?
    }
    private let state: Mutex<State>
    private let watch: @Sendable (MachineRecord) async -> Void

    /// - Parameters:
    ///   - info: what VirtualBox says of it.
    ///   - watch: looks at the machine until it is cancelled; runs while somebody listens.
    init(
        _ machine: RegisteredMachine, _ info: MachineInfo,
        watch: @escaping @Sendable (MachineRecord) async -> Void
    ) {
        id = machine.id
        uuid = machine.uuid
        settings = info.settings ?? "/"
        folder = MachineFolder(path: settings.parent)
        console = info.consoleFile
        state = Mutex(State(last: info.state(folder)))
        self.watch = watch
    }

    /// The process that runs the machine, as far as it is known.
    var process: ProcessIdentity? {
        get { state.withLock { $0.process } }
        set { state.withLock { $0.process = newValue } }
    }

    /// The last state that was told.
    var last: MachineState { state.withLock { $0.last } }

    /// What VirtualBox said of the machine's state a moment ago, nil when it has to be asked again.
    ///
    /// Each question starts a program, and on a slow host that costs the guest more than the answer is worth. So the longer one takes, the
    /// longer its answer holds; but never longer than the machine's process, which is cheap to look at.
    var recentState: MachineState? {
        let (answer, process) = state.withLock { ($0.answer, $0.process) }
        guard let answer, answer.isFresh, process?.isAlive == true else { return nil }
        guard answer.state == .running || answer.state == .paused else { return nil }
        return answer.state
    }

    /// Keeps an answer of VirtualBox's, unless something happened since the question was put.
    func keep(_ answer: StateAnswer) {
        state.withLock { if answer.begun > $0.told { $0.answer = answer } }
    }

    /// Whether it was destroyed.
    var isGone: Bool { state.withLock { $0.end == .gone } }

    /// The error for a machine that is not there any more.
    func notFound(_ operation: String) -> BackendError {
        BackendError(.notFound, operation, "machine '\(id)' does not exist", blame: .caller)
    }

    /// Runs `body` when it is its turn.
    ///
    /// - Throws: `notFound` when the machine was destroyed, and what `body` throws.
    func call<Value: Sendable>(
        _ operation: String, _ body: @Sendable () async throws -> Value
    ) async throws -> Value {
        try await turn.run {
            if isGone { throw notFound(operation) }
            return try await body()
        }
    }
}

// MARK: Events

extension MachineRecord {
    /// A new stream of what happens from now on.
    func events() -> AsyncStream<MachineEvent> {
        let (stream, continuation) = AsyncStream.makeStream(of: MachineEvent.self)
        let (number, end) = state.withLock { state in
            if state.end == nil {
                state.next += 1
                state.listeners[state.next] = continuation
                if state.watcher == nil { state.watcher = Task { [self] in await watch(self) } }
            }
            return (state.next, state.end)
        }
        if let end {
            continuation.yield(end)
            continuation.finish()
        }
        continuation.onTermination = { [weak self] _ in self?.leave(number) }
        return stream
    }

    private func leave(_ number: Int) {
        state.withLock { state in
            state.listeners.removeValue(forKey: number)
            guard state.listeners.isEmpty else { return }
            state.watcher?.cancel()
            state.watcher = nil
        }
    }

    /// Tells a state, unless it is the one that was told last.
    ///
    /// - Parameter answer: with which VirtualBox has just told it.
    func publish(_ new: MachineState, _ answer: StateAnswer? = nil) {
        let listeners = state.withLock { state in
            state.answer = answer
            state.told = .now
            if state.end != nil || state.last == new { return [AsyncStream<MachineEvent>.Continuation]() }
            state.last = new
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.yield(.state(new)) }
    }

    /// Tells the last event and ends all streams.
    func end(_ event: MachineEvent) {
        let (listeners, watcher) = state.withLock { state in
            if state.end != .gone { state.end = event }
            defer {
                state.listeners = [:]
                state.watcher = nil
            }
            return (Array(state.listeners.values), state.watcher)
        }
        watcher?.cancel()
        for listener in listeners {
            listener.yield(event)
            listener.finish()
        }
    }
}
