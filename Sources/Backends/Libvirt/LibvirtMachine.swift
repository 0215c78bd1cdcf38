import Abstractions
import BackendSupport
import Clibvirt
import Host

/// One domain of libvirt.
final class LibvirtMachine: Machine {
    let record: MachineRecord
    let connection: LibvirtConnection
    let dialect: LibvirtDialect
    let features: Set<Feature>
    private let consoleFile: HostPath?
    private let earlierConsole: EarlierConsole?

    init(_ record: MachineRecord, _ connection: LibvirtConnection, _ dialect: LibvirtDialect, console: HostPath?) {
        self.record = record
        self.connection = connection
        self.dialect = dialect
        features = dialect.features(isLocal: connection.isLocal)
        consoleFile = console
        earlierConsole = dialect.keepsConsole || !connection.isLocal ? nil : console.map(EarlierConsole.init)
    }

    var id: MachineID { record.id }
    var console: (any ConsoleFacet)? {
        features.contains(.console) ? LibvirtConsole(machine: self, file: consoleFile, earlier: earlierConsole) : nil
    }
    var snapshots: (any SnapshotFacet)? { features.contains(.snapshots) ? LibvirtSnapshots(machine: self) : nil }
    var pause: (any PauseFacet)? { features.contains(.pause) ? LibvirtPause(machine: self) : nil }
    var disks: (any DiskHotplugFacet)? { nil }
    var screenshot: (any ScreenshotFacet)? { features.contains(.screenshot) ? LibvirtScreenshot(machine: self) : nil }
    var statistics: (any StatisticsFacet)? { features.contains(.statistics) ? LibvirtStatistics(machine: self) : nil }

    func events() -> AsyncStream<MachineEvent> { record.events() }

    func state() async throws -> MachineState {
        if record.isGone { return .gone }
        if connection.isLost { return .lost }
        do {
            // Not on the machine's own worker: whoever wants to know must not wait behind a call that hangs.
            return try await connection.worker.call("machine.state") { [self] in
                try connection.withDomain("machine.state", record) { try currentState($0, record) }
            }
        } catch let error as BackendError where error.code == .notFound {
            return .gone
        }
    }

    func start() async throws {
        try await record.call("machine.start") { [self] in
            try connection.withDomain("machine.start", record) { domain in
                let now = try currentState(domain, record)
                guard now == .defined || now == .stopped else {
                    throw wrongState("machine.start", now, "only a defined or stopped machine starts")
                }
                // A driver that runs nothing knows no guest that ends at once, and some are not misled by one.
                guard features.contains(.executesGuests), dialect.startsPaused else {
                    return try launch(domain, "machine.start")
                }
                record.willResume(true)
                do {
                    try launch(domain, "machine.start", flags: VIR_DOMAIN_START_PAUSED)
                    try resumeAtOnce(domain)
                } catch {
                    record.willResume(false)
                    throw error
                }
            }
        }
    }

    /// Starts a domain that does not run; on the machine's thread.
    ///
    /// - Throws: `inUse` for a disk with an unfinished write, why libvirt did not start it.
    func launch(_ domain: OpaquePointer, _ operation: String, flags: virDomainCreateFlags = VIR_DOMAIN_NONE) throws {
        if connection.isLocal {
            try MachineSpec.refuseOpenRedoLogs(try description(of: domain, operation).disks.map(\.file))
            if let scope = RunScope.current { try scope.journal.append(.process(id.rawValue)) }
            try earlierConsole?.keep()
        }
        let status = OrphanReaper.watching { virDomainCreateWithFlags(domain, flags.rawValue) }
        guard status == 0 else { throw startFailure(operation) }
        record.started(findEmulator())
        if connection.isSilent { record.observe(.running) }
        followTerminal(domain)
    }

    /// Writes what comes on a console that is a terminal to the console's file, as long as the machine runs.
    ///
    /// Of two processes that do so each gets a part, and the file has both.
    func followTerminal(_ domain: OpaquePointer) {
        guard connection.isLocal, dialect.paravirtual != nil, let consoleFile, record.claimTerminal() else { return }
        let active = try? description(of: domain, "machine.start", virDomainXMLFlags(0))
        guard let terminal = active?.consoleTerminal else { return record.releaseTerminal() }
        ConsoleTerminal(terminal: terminal, file: consoleFile).follow { [record] in record.releaseTerminal() }
    }

    /// Follows the console of a machine that another process started.
    func followTerminal() async {
        guard dialect.paravirtual != nil else { return }
        try? await connection.worker.call("console.read") { [self] in
            try connection.withDomain("console.read", record) { followTerminal($0) }
        }
    }

    /// Lets a domain go that was started paused: one that starts running, and ends before libvirt is done with the start, is taken
    /// for a start that failed.
    private func resumeAtOnce(_ domain: OpaquePointer) throws {
        guard virDomainResume(domain) != 0 else { return }
        let failure = startFailure("machine.start")
        // It ran, and has ended by itself.
        if virDomainIsActive(domain) == 0 { return }
        record.willStop()
        virDomainDestroy(domain)
        throw failure
    }

    func stop(_ mode: StopMode) async throws {
        switch (try await presentState("machine.stop"), mode) {
        case (.defined, _), (.stopped, _): return
        case (.running, .graceful(let within)):
            try await askToStop(within: within)
        default: break
        }
        try await forceStop("machine.stop")
    }

    func destroy() async throws {
        if record.isGone { return }
        if connection.isLost, connection.root == nil { return try await destroyAnew() }
        do {
            try await forceStop("machine.destroy")
            try await record.call("machine.destroy") { [self] in
                try connection.withDomain("machine.destroy", record) { domain in
                    let files = dialect.needsVirtualBoxFiles ? try filesFolder(domain) : nil
                    defer { if let files { try? HostFiles.removeTree(files) } }
                    if features.contains(.snapshots) {
                        SnapshotWork(machine: self, domain: domain, operation: "machine.destroy").deleteAll()
                    }
                    try undefine(domain)
                }
            }
        } catch let error as BackendError where error.code == .notFound {
            record.end(.gone)
        }
        if let console = consoleFile, console.parent == connection.root?.consoles || isOurs(console) {
            try? HostFiles.removeTree(console)
        }
        earlierConsole?.remove()
        // libvirt's own event ends the streams behind the last state; this is for a driver that sends none.
        Task { [record, connection] in
            try? await Task.sleep(for: .seconds(2))
            record.end(.gone)
            connection.machines.remove(record.uuid)
        }
    }

    /// Removes it by a connection of its own, since that which made it is lost: a daemon that was started again knows it still.
    private func destroyAnew() async throws {
        let again = try await LibvirtConnection.open(.uri(connection.uri), root: nil)
        let result = await Task {
            try await again.worker.call("machine.destroy") { [self] in
                try again.withDomain("machine.destroy", record) { domain in
                    if virDomainIsActive(domain) == 1 { virDomainDestroy(domain) }
                    try undefine(domain)
                }
            }
        }.result
        await again.close()
        try result.get()
    }

    private func undefine(_ domain: OpaquePointer) throws {
        let all =
            VIR_DOMAIN_UNDEFINE_MANAGED_SAVE.rawValue | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA.rawValue
            | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA.rawValue | VIR_DOMAIN_UNDEFINE_NVRAM.rawValue
        // Not every driver knows these flags; without them it keeps nothing that they name.
        // VirtualBox lets go of a machine a moment after it has ended.
        let isDone: Void? = insisting(while: { lastErrorText.contains("while it is locked") }) {
            virDomainUndefineFlags(domain, all) == 0 || virDomainUndefine(domain) == 0 ? () : nil
        }
        if isDone == nil { throw libvirtError("machine.destroy", "cannot remove machine '\(id)'") }
    }

    /// The folder with the files that stand for what VirtualBox does not take; nil when the machine has none.
    private func filesFolder(_ domain: OpaquePointer) throws -> HostPath? {
        try description(of: domain, "machine.destroy").disks.map(\.file.parent).first { $0.name == record.uuid }
    }

    /// Why a start failed, with what QEMU or the driver wrote.
    private func startFailure(_ operation: String) -> BackendError {
        var failure = libvirtError(operation, "cannot start machine '\(id)'")
        if let log = connection.root?.log(of: id), let text = try? HostFiles.readText(log) {
            // The lines of the command end with a backslash.
            let said = text.split(separator: "\n").filter { $0.last != "\\" }
            failure.evidence["qemu.log"] = said.suffix(20).joined(separator: "\n")
        }
        if connection.isLocal, let log = dialect.driverLog, let text = try? HostFiles.readText(log) {
            failure.evidence[log.name] = text.split(separator: "\n").suffix(20).joined(separator: "\n")
        }
        return failure
    }

    private func isOurs(_ console: HostPath) -> Bool {
        connection.root == nil && console.parent == HostEnvironment.state.appending("consoles")
    }

    /// The state, for calls that must not be made on a machine that is gone.
    func presentState(_ operation: String) async throws -> MachineState {
        let state = try await state()
        if state == .gone { throw record.notFound(operation) }
        return state
    }

    func wrongState(_ operation: String, _ now: MachineState, _ rule: String) -> BackendError {
        BackendError(.invalidState, operation, "machine '\(id)' is \(now.rawValue); \(rule)")
    }
}

/// The state that libvirt reports for a domain.
func currentState(_ domain: OpaquePointer, _ record: MachineRecord) throws -> MachineState {
    var (code, reason): (Int32, Int32) = (0, 0)
    guard virDomainGetState(domain, &code, &reason, 0) == 0 else {
        throw libvirtError("machine.state", "cannot read the state of machine '\(record.id)'")
    }
    return record.state(code, reason)
}
