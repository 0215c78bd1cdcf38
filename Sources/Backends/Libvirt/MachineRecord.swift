import Abstractions
import Clibvirt
import Host
import Synchronization

/// What this process knows of one machine beyond what libvirt says.
final class MachineRecord: Sendable {
    /// The domain's name.
    let id: MachineID
    /// The domain's uuid; a later machine with the same name has another.
    let uuid: String

    private struct State {
        var hasStarted = false
        var isStopping = false
        var isCrashAcknowledged = false
        var isRunning = false
        var lastPublished: MachineState?
        var isUndefined = false
        var isAboutToResume = false
        var isGone = false
        var emulator: ProcessIdentity?
        var isFollowed = false
        var listeners: [Int: AsyncStream<MachineEvent>.Continuation] = [:]
        var nextListener = 0
    }
    private let state = Mutex(State())

    /// A file that says that the machine was started once.
    private let mark: HostPath?

    init(id: MachineID, uuid: String, mark: HostPath? = nil) {
        self.mark = mark
        if let mark, HostFiles.exists(mark) { state.withLock { $0.hasStarted = true } }
        self.id = id
        self.uuid = uuid
        worker = LibvirtWorker("machine '\(id)'")
    }

    /// The thread for this machine's calls.
    private let worker: LibvirtWorker

    /// Whether an earlier call of this machine still hangs.
    var isWedged: Bool { worker.isWedged }

    /// Its QEMU, as far as it is known.
    var emulator: ProcessIdentity? { state.withLock { $0.emulator } }

    /// Runs `body` on the machine's own thread.
    ///
    /// - Throws: `notFound` when the machine was destroyed, `timeout`, and what `body` throws.
    func call<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        if isGone { throw notFound(operation) }
        do {
            return try await worker.call(operation, body)
        } catch let error as BackendError where error.code == .invalidState && isGone {
            throw notFound(operation)
        }
    }

    /// Whether it was destroyed.
    var isGone: Bool { state.withLock { $0.isGone } }

    func started(_ emulator: ProcessIdentity?) {
        // Without the mark a later process takes a stopped machine for one that never ran, and nothing worse.
        if let mark { try? HostFiles.write([], to: mark) }
        state.withLock { state in
            state.hasStarted = true
            state.isStopping = false
            state.isCrashAcknowledged = false
            state.emulator = emulator
            state.isFollowed = false
        }
    }

    /// True for the one who shall follow its console's terminal now.
    func claimTerminal() -> Bool {
        state.withLock { state in
            defer { state.isFollowed = true }
            return !state.isFollowed
        }
    }

    /// Nobody follows its console's terminal any more.
    func releaseTerminal() { state.withLock { $0.isFollowed = false } }

    /// Whether the next pause is that of a start, and nobody's business.
    func willResume(_ will: Bool) { state.withLock { $0.isAboutToResume = will } }

    /// From here on the end of its QEMU is a stop, not a crash.
    func willStop() { state.withLock { $0.isStopping = true } }

    /// The machine is off because we wanted it; a crash before that is settled.
    func stopped() { state.withLock { $0.isCrashAcknowledged = true } }

    /// The state for what libvirt says.
    func state(_ code: Int32, _ reason: Int32) -> MachineState {
        state.withLock { state in
            switch virDomainState(rawValue: UInt32(bitPattern: code)) {
            case VIR_DOMAIN_RUNNING, VIR_DOMAIN_BLOCKED, VIR_DOMAIN_SHUTDOWN: return .running
            case VIR_DOMAIN_PAUSED:
                let panicked = UInt32(bitPattern: reason) == VIR_DOMAIN_PAUSED_CRASHED.rawValue
                return panicked ? .crashed : .paused
            case VIR_DOMAIN_PMSUSPENDED: return .paused
            case VIR_DOMAIN_CRASHED: return state.isStopping || state.isCrashAcknowledged ? .stopped : .crashed
            default: break
            }
            switch virDomainShutoffReason(rawValue: UInt32(bitPattern: reason)) {
            case VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_SHUTOFF_DAEMON:
                return state.isStopping || state.isCrashAcknowledged ? .stopped : .crashed
            // A start that failed leaves the machine as it was.
            case VIR_DOMAIN_SHUTOFF_UNKNOWN, VIR_DOMAIN_SHUTOFF_FAILED: return state.hasStarted ? .stopped : .defined
            default: return .stopped
            }
        }
    }

    /// The error for a machine that is not there any more.
    func notFound(_ operation: String) -> BackendError {
        BackendError(.notFound, operation, "machine '\(id)' does not exist", blame: .caller)
    }
}

// MARK: Events

extension MachineRecord {
    /// A new stream of what happens from now on.
    func events() -> AsyncStream<MachineEvent> {
        let (stream, continuation) = AsyncStream.makeStream(of: MachineEvent.self)
        let number = state.withLock { state -> Int? in
            if state.isGone { return nil }
            state.nextListener += 1
            state.listeners[state.nextListener] = continuation
            return state.nextListener
        }
        guard let number else {
            continuation.yield(.gone)
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.listeners.removeValue(forKey: number) }
        }
        return stream
    }

    /// Turns a lifecycle event of libvirt into ours; true when the machine is gone.
    func lifecycle(event: UInt32, detail: UInt32) -> Bool {
        switch virDomainEventType(rawValue: event) {
        case VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_RESUMED: publish(.running, isRunning: true)
        case VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_PMSUSPENDED:
            let isOfStart = state.withLock { state in
                defer { state.isAboutToResume = false }
                return state.isAboutToResume
            }
            if !isOfStart { publish(.paused, isRunning: true) }
        case VIR_DOMAIN_EVENT_CRASHED: publish(.crashed, isRunning: true)
        case VIR_DOMAIN_EVENT_STOPPED:
            let crash = [VIR_DOMAIN_EVENT_STOPPED_CRASHED.rawValue, VIR_DOMAIN_EVENT_STOPPED_FAILED.rawValue]
            let wanted = state.withLock { $0.isStopping }
            publish(crash.contains(detail) && !wanted ? .crashed : .stopped, isRunning: false)
        case VIR_DOMAIN_EVENT_UNDEFINED: state.withLock { $0.isUndefined = true }
        default: return false
        }
        let gone = state.withLock { $0.isUndefined && !$0.isRunning }
        if gone { end(.gone) }
        return gone
    }

    /// Whether somebody listens.
    var hasListeners: Bool { state.withLock { !$0.listeners.isEmpty } }

    /// Tells of a state that was seen, for a driver that tells of none.
    func observe(_ new: MachineState) {
        let isUp = new == .running || new == .paused
        // One that was off when we first saw it has not ended.
        guard isUp || state.withLock({ $0.lastPublished != nil }) else { return }
        publish(new, isRunning: isUp)
    }

    /// Sends the last event and ends all streams.
    func end(_ event: MachineEvent) {
        let listeners = state.withLock { state in
            if event == .gone { state.isGone = true }
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        if event == .gone {
            worker.close()
            if let mark { try? HostFiles.removeTree(mark) }
        }
        for listener in listeners {
            listener.yield(event)
            listener.finish()
        }
    }

    private func publish(_ new: MachineState, isRunning: Bool) {
        let listeners = state.withLock { state in
            state.isRunning = isRunning
            // A start is two events of libvirt: started, resumed.
            defer { state.lastPublished = new }
            return state.lastPublished == new ? [] : Array(state.listeners.values)
        }
        for listener in listeners { listener.yield(.state(new)) }
    }
}

/// The records of all machines that were seen through one connection.
final class MachineTable: Sendable {
    private let records = Mutex<[String: MachineRecord]>([:])
    private let lost = Atomic(false)
    private let marks: HostPath?

    /// - Parameter marks: folder that remembers which machines were started, nil where libvirt does.
    init(marks: HostPath?) { self.marks = marks }

    /// The record of a domain; the same one as long as the machine exists.
    func record(_ id: MachineID, uuid: String) -> MachineRecord {
        records.withLock { records in
            if let known = records[uuid] { return known }
            let record = MachineRecord(id: id, uuid: uuid, mark: marks?.appending(uuid))
            records[uuid] = record
            return record
        }
    }

    func lifecycle(uuid: String, event: UInt32, detail: UInt32) {
        guard let record = records.withLock({ $0[uuid] }) else { return }
        if record.lifecycle(event: event, detail: detail) { remove(uuid) }
    }

    func remove(_ uuid: String) { _ = records.withLock { $0.removeValue(forKey: uuid) } }

    /// Those that somebody listens to.
    var listened: [MachineRecord] { records.withLock { $0.values.filter(\.hasListeners) } }

    /// Whether the daemon behind the connection went away.
    var isLost: Bool { lost.load(ordering: .acquiring) }

    /// Ends every stream, since no event will come any more.
    ///
    /// - Parameter daemonIsGone: no call can be answered either.
    func loseAll(_ error: BackendError, daemonIsGone: Bool) {
        if daemonIsGone { lost.store(true, ordering: .releasing) }
        let all = records.withLock { Array($0.values) }
        for record in all { record.end(.lost(error)) }
    }
}
