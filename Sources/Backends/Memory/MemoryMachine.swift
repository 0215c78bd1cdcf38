import Abstractions
import BackendSupport
import Host

/// A machine of the reference fake.
actor MemoryMachine: Machine {
    nonisolated let id: MachineID
    nonisolated let fault: MemoryFault?
    nonisolated private let hub = EventHub()
    let spec: MachineSpec
    let consoleFile: MemoryConsole
    unowned let owner: MemoryHypervisor
    private let program: HostPath?
    private(set) var now = MachineState.defined
    private(set) var guest: MemoryGuest?
    private var isStopping = false
    private var claims: [ImageClaim] = []
    var attached: [DiskAttachment]
    var snapshotTree = SnapshotTree<MemorySnapshot>()

    /// - Throws: what the host says about the console's file.
    init(_ spec: MachineSpec, _ owner: MemoryHypervisor, _ program: HostPath?, _ fault: MemoryFault?) throws {
        id = spec.id
        self.spec = spec
        self.owner = owner
        self.program = program
        self.fault = fault
        attached = spec.disks
        consoleFile = try MemoryConsole(spec.consoleLog)
    }

    // MARK: - Machine

    func state() async throws -> MachineState { now }

    nonisolated func events() -> AsyncStream<MachineEvent> { hub.stream() }

    func start() async throws {
        try checkThere("machine.start")
        let isLegal = now == .defined || now == .stopped || fault == .startTwiceAllowed
        guard isLegal else { throw illegal("machine.start", "can be started only when it is defined or stopped") }
        guard guest == nil else { return }
        let taken = try attached.filter { !$0.readOnly }.map { try ImageClaim($0.image) }
        if let program {
            guest = try MemoryGuest(program, spec, attached, console: consoleFile) { [weak self] ended, exit in
                Task { await self?.guestEnded(exit, by: ended) }
            }
        } else {
            consoleFile.print("machine \(id) started; nothing runs in it")
        }
        claims = taken
        become(.running)
    }

    func stop(_ mode: StopMode) async throws {
        try checkThere("machine.stop")
        if fault == .stopDefinedThrows, now == .defined { throw illegal("machine.stop", "is not running") }
        guard now == .running || now == .paused || now == .crashed, fault != .stopLeavesRunning else { return }
        if let guest {
            isStopping = true
            defer { isStopping = false }
            if case .graceful(let within) = mode { await ask(guest, within) }
            guest.cutPower()
            guestEnded(await guest.end(), by: guest)
        }
        claims = []
        if now != .gone, now != .stopped { become(.stopped) }
    }

    func destroy() async throws {
        if fault == .destroyTwiceThrows { try checkThere("machine.destroy") }
        guard now != .gone else { return }
        if let guest {
            guest.cutPower()
            _ = await guest.end()
        }
        // Another call may have been here while this one waited.
        guard now != .gone else { return }
        guest = nil
        claims = []
        now = .gone
        if fault == .destroyRemovesImages { for disk in attached { try? HostFiles.removeTree(disk.image.path) } }
        if fault != .destroyLeavesMachine { owner.remove(self) }
        if fault == .eventsNeverEnd { hub.send(.gone) } else { hub.end(.gone) }
    }

    // MARK: - What happens to it

    /// The backend is closed: nobody drives this machine any more.
    func abandon() async {
        if let guest {
            guest.cutPower()
            _ = await guest.end()
        }
        claims = []
        hub.end(.lost(BackendError(.unavailable, "machine.events", "the backend of machine '\(id)' was closed")))
    }

    private func ask(_ guest: MemoryGuest, _ within: Duration) async {
        guest.askToStop()
        let timer = Task {
            try await Task.sleep(for: within)
            guest.cutPower()
        }
        _ = await guest.end()
        timer.cancel()
    }

    /// A guest that ends by itself has powered off; one that is killed by somebody else has crashed.
    private func guestEnded(_ exit: ProcessExit, by ended: MemoryGuest) {
        guard guest === ended, now != .gone else { return }
        guest = nil
        claims = []
        if case .signaled = exit, !isStopping { become(.crashed) } else { become(.stopped) }
    }

    /// Enters a state and tells it.
    func become(_ state: MachineState) {
        now = state
        if state == .stopped, fault == .eventsSkipStopped { return }
        hub.send(.state(state))
    }

    // MARK: - Rules

    func checkThere(_ operation: String) throws {
        guard now != .gone || fault == .goneMachineAnswers else {
            throw BackendError(.notFound, operation, "machine '\(id)' was destroyed", blame: .caller)
        }
    }

    func illegal(_ operation: String, _ rule: String) -> BackendError {
        BackendError(.invalidState, operation, "machine '\(id)' is \(now.rawValue) and \(rule)")
    }

    // MARK: - Facets

    nonisolated var console: (any ConsoleFacet)? {
        fault == .featuresLieConsole ? nil : MemoryFacets(machine: self)
    }
    nonisolated var snapshots: (any SnapshotFacet)? { MemorySnapshots(machine: self) }
    nonisolated var pause: (any PauseFacet)? { MemoryFacets(machine: self) }
    nonisolated var disks: (any DiskHotplugFacet)? { MemoryFacets(machine: self) }
    nonisolated var screenshot: (any ScreenshotFacet)? { MemoryFacets(machine: self) }
    nonisolated var statistics: (any StatisticsFacet)? { MemoryFacets(machine: self) }
}
