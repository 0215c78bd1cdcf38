import Abstractions
import Host
import Synchronization

/// The reference fake of `Hypervisor`: machines are entries of a table; a guest, if any, is played by a program of the host.
///
/// Machines live as long as this object: `close` ends their guests, since nobody could drive them any more.
public final class MemoryHypervisor: Hypervisor {
    private struct State {
        var machines: [MachineID: MemoryMachine] = [:]
        var isClosed = false
    }
    private let fault: MemoryFault?
    private let guest: HostPath?
    private let state = Mutex(State())

    init(guest: HostPath?, fault: MemoryFault?) {
        self.guest = guest
        self.fault = fault
    }

    /// See `Hypervisor`.
    public func info() async throws -> HypervisorInfo {
        try checkOpen("hypervisor.info")
        return HypervisorInfo(
            name: "memory", version: "1",
            features: features, diskFormats: [.raw, .vdi, .qcow2, .memory], maximumCPUs: 64)
    }

    private var features: Set<Feature> {
        let always: Set<Feature> = [
            .console, .snapshots, .liveSnapshots, .pause, .diskHotplug, .screenshot, .statistics, .kernelBoot,
            .simulated,
        ]
        // With a guest states are more than bookkeeping: it reads the disks, writes to them and ends by itself.
        return guest == nil ? always : always.union([.executesGuests])
    }

    /// See `Hypervisor`.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        try checkOpen("hypervisor.check")
        var findings = [Finding("memory hypervisor", .warning, "simulated: no machine really runs")]
        if let guest {
            let isThere = HostEnvironment.program(guest.string) != nil
            findings.append(
                Finding(
                    "guest program \(guest)", isThere ? .good : .bad, isThere ? "can be started" : "is no program",
                    remedy: isThere ? nil : "name an executable file in the option `guest`"))
        }
        return findings
    }

    /// See `Hypervisor`.
    public func create(_ spec: MachineSpec) async throws -> any Machine {
        try checkOpen("machine.create")
        if fault != .invalidNameAccepted { try spec.validate() }
        if fault == .failedCreateLeavesMachine { try? enter(MemoryMachine(spec, self, guest, fault)) }
        try check(spec)
        let machine = try MemoryMachine(spec, self, guest, fault)
        try enter(machine)
        return machine
    }

    private func enter(_ machine: MemoryMachine) throws {
        try state.withLock { state in
            guard state.machines[machine.id] == nil || fault == .duplicateCreateOverwrites else {
                throw BackendError(
                    .alreadyExists, "machine.create", "machine '\(machine.id)' exists already; destroy it first",
                    blame: .caller)
            }
            state.machines[machine.id] = machine
        }
    }

    private func check(_ spec: MachineSpec) throws {
        func refuse(_ code: BackendError.Code, _ message: String) -> BackendError {
            BackendError(code, "machine.create", message, blame: .caller)
        }
        guard spec.cpus <= 64 else {
            throw refuse(.invalidArgument, "machine '\(spec.id)' has \(spec.cpus) cpus, at most 64 are possible")
        }
        // A name that is taken comes first: what else is wrong with the spec does not matter then.
        if fault != .duplicateCreateOverwrites, state.withLock({ $0.machines[spec.id] != nil }) {
            throw refuse(.alreadyExists, "machine '\(spec.id)' exists already; destroy it first")
        }
        var files = spec.disks.map(\.image.path)
        for disk in spec.disks where ![.raw, .vdi, .qcow2, .memory].contains(disk.image.format) {
            throw refuse(.unsupported, "memory has no disks of format '\(disk.image.format)'")
        }
        switch spec.boot {
        case .disk: break
        case .kernel(let boot): files += [boot.kernel] + (boot.initrd.map { [$0] } ?? [])
        case .cdrom(let file): files.append(file)
        }
        for file in files where !HostFiles.exists(file) && fault != .missingImageAccepted {
            throw refuse(.notFound, "\(file), which machine '\(spec.id)' needs, does not exist")
        }
    }

    /// See `Hypervisor`.
    public func machine(_ id: MachineID) async throws -> (any Machine)? {
        try checkOpen("hypervisor.machine")
        return state.withLock { $0.machines[id] }
    }

    /// See `Hypervisor`.
    public func machines(ownedBy owner: OwnerTag) async throws -> [MachineSummary] {
        try checkOpen("hypervisor.machines")
        var found = state.withLock { Array($0.machines.values) }
        if fault != .machinesIgnoreOwner { found.removeAll { !owner.owns($0.id) } }
        found.sort { left, right in
            let inOrder = left.id.rawValue.utf8.lexicographicallyPrecedes(right.id.rawValue.utf8)
            return fault == .machinesUnsorted ? !inOrder : inOrder
        }
        var summaries: [MachineSummary] = []
        for machine in found { summaries.append(MachineSummary(id: machine.id, state: await machine.now)) }
        return summaries
    }

    /// See `Hypervisor`.
    public func close() async {
        let machines = state.withLock { state in
            state.isClosed = true
            return Array(state.machines.values)
        }
        for machine in machines { await machine.abandon() }
    }

    /// Another machine that was made with one of these disks.
    func machine(sharing disks: [HostPath], with id: MachineID) -> MachineID? {
        state.withLock { state in
            state.machines.values.first { $0.id != id && $0.spec.disks.contains { disks.contains($0.image.path) } }?.id
        }
    }

    /// Forgets a machine.
    func remove(_ machine: MemoryMachine) {
        state.withLock { state in
            if state.machines[machine.id] === machine { state.machines.removeValue(forKey: machine.id) }
        }
    }

    private func checkOpen(_ operation: String) throws {
        guard !state.withLock({ $0.isClosed }) || fault == .closedHypervisorAnswers else {
            throw BackendError(.invalidState, operation, "the backend is closed", backend: "memory")
        }
    }
}
