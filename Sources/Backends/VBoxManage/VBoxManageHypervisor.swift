import Abstractions
import BackendSupport
import Host
import Synchronization

/// Drives VirtualBox by its command line.
///
/// VirtualBox's service, VBoxSVC, starts with the first command and ends by itself some seconds after the last; there is no
/// connection to keep, and machines stay when this object is closed.
final class VBoxManageHypervisor: Hypervisor {
    let options: OptionValues
    let tool: VBoxManageTool
    /// Lets one machine at a time be made here.
    let creating = Turn()

    private struct State {
        var records: [String: MachineRecord] = [:]
        var isClosed = false
    }
    private let state = Mutex(State())

    init(_ options: OptionValues) {
        self.options = options
        tool = VBoxManageTool(program: options["program"] ?? "VBoxManage")
    }

    /// - Throws: `invalidState` after `close`.
    func checkOpen(_ operation: String) throws {
        guard !state.withLock({ $0.isClosed }) else {
            throw BackendError(.invalidState, operation, "the backend 'vboxmanage' is closed")
        }
    }

    func info() async throws -> HypervisorInfo {
        try checkOpen("hypervisor.info")
        let version = try await version("hypervisor.info")
        var features: Set<Feature> = [
            .console, .snapshots, .liveSnapshots, .pause, .screenshot, .executesGuests,
        ]
        if KernelDisc.isPossible { features.insert(.kernelBoot) }
        if tool.headless != nil { features.insert(.warmStart) }
        return HypervisorInfo(
            name: "vboxmanage", version: "VirtualBox \(version)",
            features: features,
            diskFormats: [.raw, .vdi, .vhd, .vmdk], maximumCPUs: try await maximumCPUs("hypervisor.info"))
    }

    /// The version, for example `7.2.22_Debianr175245`.
    func version(_ operation: String) async throws -> String {
        let lines = try await tool(operation, ["--version"]).split(separator: "\n")
        guard let version = lines.last(where: { $0.first?.isNumber ?? false }) else {
            throw BackendError(.unavailable, operation, "\(tool.program) tells no version; is it VirtualBox's?")
        }
        return String(version)
    }

    /// The most processors of a machine.
    func maximumCPUs(_ operation: String) async throws -> Int {
        let text = try await tool(operation, ["list", "systemproperties"])
        let line = text.split(separator: "\n").first { $0.hasPrefix("Maximum guest CPU count:") }
        return line?.split(separator: " ").last.flatMap { Int($0) } ?? 1
    }

    func machine(_ id: MachineID) async throws -> (any Machine)? {
        try checkOpen("hypervisor.machine")
        guard id.isValid, let found = try await find(id, "hypervisor.machine") else { return nil }
        return try await handle(found, "hypervisor.machine")
    }

    func machines(ownedBy owner: OwnerTag) async throws -> [MachineSummary] {
        let operation = "hypervisor.machines"
        try checkOpen(operation)
        var summaries: [MachineSummary] = []
        for found in try await list(operation) where owner.owns(found.id) {
            // nil: it went away meanwhile.
            guard let info = try await info(of: found, operation), let settings = info.settings else { continue }
            summaries.append(
                MachineSummary(id: found.id, state: info.state(MachineFolder(path: settings.parent))))
        }
        return summaries.sorted { $0.id.rawValue < $1.id.rawValue }
    }

    func close() async {
        let records = state.withLock { state in
            state.isClosed = true
            defer { state.records = [:] }
            return Array(state.records.values)
        }
        for record in records {
            record.end(.lost(BackendError(.unavailable, "machine.events", "the backend of '\(record.id)' was closed")))
        }
    }

    // MARK: - Machines

    /// All machines of the user.
    func list(_ operation: String) async throws -> [RegisteredMachine] {
        RegisteredMachine.list(try await tool.whenUnlocked(operation, ["list", "vms"]))
    }

    /// The first machine with this name.
    func find(_ id: MachineID, _ operation: String) async throws -> RegisteredMachine? {
        try await list(operation).first { $0.id == id }
    }

    /// What VirtualBox says of a machine, nil when it is not there.
    func info(of machine: RegisteredMachine, _ operation: String) async throws -> MachineInfo? {
        // VirtualBox would ask the machine's process, and wait for ever for one that somebody stopped.
        if let process = HeadlessProcess.find(machine.uuid), ProcessIdentity.isStopped(process.pid) {
            let folder = MachineFolder(path: root.appending(machine.id.rawValue))
            if folder.isOurs { return folder.remembered }
        }
        do {
            return MachineInfo(
                try await tool.whenUnlocked(
                    operation, ["showvminfo", machine.uuid, "--machinereadable"], within: .seconds(60)))
        } catch let error as BackendError where error.code == .notFound {
            return nil
        }
    }

    /// A handle of a machine on the list, nil when it went away meanwhile.
    func handle(_ machine: RegisteredMachine, _ operation: String) async throws -> VBoxManageMachine? {
        if let known = state.withLock({ $0.records[machine.uuid] }) { return handle(known) }
        guard let info = try await info(of: machine, operation) else { return nil }
        let fresh = MachineRecord(machine, info) { [weak self] in await self?.watch($0) }
        if fresh.last == .running || fresh.last == .paused { fresh.process = HeadlessProcess.find(machine.uuid) }
        return handle(
            state.withLock { state in
                let record = state.records[machine.uuid] ?? fresh
                state.records[machine.uuid] = record
                return record
            })
    }

    private func handle(_ record: MachineRecord) -> VBoxManageMachine {
        VBoxManageMachine(record, tool) { [weak self] gone in
            self?.state.withLock { _ = $0.records.removeValue(forKey: gone.uuid) }
        }
    }

    /// Looks at a machine and tells what it sees, until nobody listens any more.
    ///
    /// A process of the host is cheap to look at and ends with its machine; VirtualBox itself is asked every two seconds, or more seldom
    /// where it takes long to answer.
    private func watch(_ record: MachineRecord) async {
        let machine = handle(record)
        var failures = 0
        var next = ContinuousClock.now
        while true {
            do { try await Task.sleep(for: .milliseconds(100)) } catch { return }
            let wasUp = record.last == .running || record.last == .paused
            let hasEnded = wasUp && record.process?.isAlive != true
            guard hasEnded || ContinuousClock.now > next else { continue }
            // VirtualBox would wait for it, and whoever wants to force it off for us.
            if let process = record.process, ProcessIdentity.isStopped(process.pid) { continue }
            do {
                let again = try await record.call("machine.events") {
                    let begun = ContinuousClock.now
                    let now = try await machine.presentState("machine.events")
                    let answer = StateAnswer(now, begun: begun)
                    if now == .running, record.process?.isAlive != true {
                        record.process = HeadlessProcess.find(record.uuid)
                    }
                    record.publish(now, answer)
                    return answer.again
                }
                next = max(again, .now + .seconds(2))
                failures = 0
            } catch is CancellationError {
                return
            } catch let error as BackendError where error.code == .notFound {
                return record.end(.gone)
            } catch {
                failures += 1
                next = .now + .seconds(2)
                guard failures == 5 else { continue }
                return record.end(.lost(BackendError.wrapping(error, "machine.events")))
            }
        }
    }
}
