import Abstractions
import Host
import Synchronization

/// Watches one machine from its start to its end: its events, its console and the clock.
actor MachineWatch {
    /// How a machine's life ended.
    enum Ending: Sendable, Hashable {
        /// It is off.
        case off(MachineState)
        /// It runs still, and its time is over.
        case late(String)
        /// It said that it is done, and stays on, as a warm one shall.
        case done
        /// It said that it is done, and stays on although it should not.
        case lingering
        /// The backend does not answer for it.
        case lost(BackendError)
    }

    private enum Signal: Sendable {
        case event(MachineEvent)
        case state(MachineState)
        case unreachable(BackendError)
        case tick
    }

    private let machine: any Machine
    private let deadlines: Deadlines
    private let tasks: [TaskSpec]
    private let log: EventLog
    private let awaited: ConsoleMark
    private let staysOn: Bool
    private var console: ConsoleTail
    private var parser: MarkParser
    private let signals: AsyncStream<Signal>
    private let sender: AsyncStream<Signal>.Continuation
    private var helpers: [Task<Void, Never>] = []
    private var changes: FileChanges?

    private(set) var ending: Ending?
    private var started = ContinuousClock.now
    private(set) var readyAt: ContinuousClock.Instant?
    private var doneAt: ContinuousClock.Instant?
    private var current: (id: String, since: ContinuousClock.Instant)?
    /// What the agent says why it gives up.
    private(set) var agentError: String?
    /// How long each task took, as seen from here.
    private(set) var taskMs: [String: Int64] = [:]
    /// The tasks of which the agent said that they began.
    private(set) var begunTasks: Set<String> = []

    /// Whether the agent said that everything is durable.
    var isDone: Bool { doneAt != nil }

    /// - Parameters:
    ///   - awaited: the mark with which the guest is ready.
    ///   - staysOn: whether the machine is not to power off when it is done.
    init(
        _ machine: any Machine, tasks: [TaskSpec], token: String, console: ConsoleTail, deadlines: Deadlines,
        log: EventLog, awaited: ConsoleMark = .ready, staysOn: Bool = false
    ) {
        self.machine = machine
        self.tasks = tasks
        self.deadlines = deadlines
        self.log = log
        self.awaited = awaited
        self.staysOn = staysOn
        self.console = console
        parser = MarkParser(token: token)
        (signals, sender) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(256))
    }

    /// Begins to listen; call it before the machine starts, so that no event is lost.
    func begin() {
        let machine = machine
        let sender = sender
        let call = deadlines[.call]
        let events = machine.events()
        helpers.append(
            Task {
                for await event in events { sender.yield(.event(event)) }
            })
        helpers.append(
            Task {
                while (try? await Task.sleep(for: .milliseconds(250))) != nil { sender.yield(.tick) }
            })
        // An event can get lost with a backend that hangs; a question that stays open tells of that.
        helpers.append(
            Task {
                while (try? await Task.sleep(for: .seconds(2))) != nil {
                    let late = BackendError(
                        .timeout, "machine.state", "the hypervisor does not answer for \(machine.id)")
                    do {
                        let state = try await abandoning(at: .now + call, late) { try await machine.state() }
                        sender.yield(.state(state))
                    } catch {
                        if Task.isCancelled { return }
                        let known = BackendError.wrapping(error, "machine.state")
                        sender.yield(.unreachable(known.code == .timeout ? late.caused(by: known) : known))
                    }
                }
            })
    }

    /// Notes the moment at which the machine was started.
    func markStarted() { started = .now }

    /// Returns when the agent is ready or the machine has ended, or at once when the machine has no console to tell.
    ///
    /// - Throws: `CancellationError`.
    func untilReady() async throws {
        await take(.tick)
        guard console.exists || readyAt != nil else { return }
        try await wait { $0.readyAt != nil }
    }

    /// Returns how the machine ended.
    ///
    /// - Throws: `CancellationError`.
    func untilEnd() async throws -> Ending {
        try await wait { _ in false }
        await drain()
        return ending ?? .off(.stopped)
    }

    /// Stops listening.
    func end() {
        helpers.forEach { $0.cancel() }
        changes = nil
        sender.finish()
    }

    private func wait(until isEnough: (isolated MachineWatch) -> Bool) async throws {
        if ending != nil || isEnough(self) { return }
        for await signal in signals {
            await take(signal)
            if ending == nil { checkClock() }
            if ending != nil {
                await drain()
                return
            }
            if isEnough(self) { return }
        }
        try Task.checkCancellation()
    }

    private func take(_ signal: Signal) async {
        switch signal {
        case .tick:
            // The file comes with the machine; until then, and without one, the clock has to do.
            if changes == nil { changes = console.changes { [sender] in sender.yield(.tick) } }
            await follow()
        case .event(.state(let state)), .state(let state):
            if [.stopped, .crashed, .gone].contains(state) { ending = .off(state) }
            if state == .lost {
                ending = .lost(BackendError(.crashed, "machine.state", "the hypervisor has lost \(machine.id)"))
            }
        case .event(.gone): ending = .off(.gone)
        case .event(.lost(let error)), .unreachable(let error): ending = .lost(error)
        }
    }

    private func checkClock() {
        let now = ContinuousClock.now
        if let doneAt {
            if staysOn { ending = .done }
            if now > doneAt + deadlines[.powerOff] { ending = .lingering }
            return
        }
        if console.isFlooded { ending = .late("the console printed more than \(ByteCount(ConsoleTail.flood))") }
        guard let readyAt else {
            // Without a console nobody can say when it is up, so both times count.
            let limit = deadlines[.boot] + (console.exists ? .zero : deadlines[.tasks])
            if now > started + limit { ending = .late("the guest was not up within \(limit.inSeconds) s") }
            return
        }
        if now > readyAt + deadlines[.tasks] {
            ending = .late("the tasks were not over within \(deadlines[.tasks].inSeconds) s")
        }
        if let current, let timeout = tasks.first(where: { $0.id == current.id })?.timeout,
            now > current.since + timeout + deadlines[.taskMargin]
        {
            ending = .late(
                "task '\(current.id)' was not over within \(timeout.inSeconds) s, and the guest did not end it")
        }
    }

    /// Reads what the console has now.
    private func follow() async {
        _ = await readConsole()
    }

    /// Reads the rest of the console; a machine that is off writes no more.
    private func drain() async {
        for _ in 0..<64 {
            if await readConsole() == 0 { return }
        }
    }

    private func readConsole() async -> Int {
        var tail = console
        let bytes = await tail.readMore()
        console = tail
        note(parser.feed(bytes))
        return bytes.count
    }

    private func note(_ marks: [ConsoleMark]) {
        for mark in marks {
            let now = ContinuousClock.now
            switch mark {
            case awaited where readyAt == nil:
                readyAt = now
                log.add(.guestReady) { [started] in $0.ms = started.duration(to: now).milliseconds }
            case .taskStart(let id) where tasks.contains { $0.id == id }:
                current = (id, now)
                begunTasks.insert(id)
                log.add(.taskStart) { $0.task = id }
            case .taskEnd(let id, let status, _) where tasks.contains { $0.id == id }:
                let ms = current.flatMap { $0.id == id ? $0.since.duration(to: now).milliseconds : nil }
                current = nil
                taskMs[id] = ms
                log.add(.taskEnd) {
                    $0.task = id
                    $0.status = TaskStatus(rawValue: status)?.rawValue ?? "unknown"
                    $0.ms = ms
                }
            case .done where doneAt == nil:
                doneAt = now
                log.add(.guestDone)
            case .error(let text) where agentError == nil:
                agentError = String(text.prefix(500))
                log.add(.guestError) { $0.message = String(text.prefix(500)) }
            default: break
            }
        }
    }
}
