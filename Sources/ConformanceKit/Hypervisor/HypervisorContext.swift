import Abstractions
import Host

/// What a hypervisor case gets.
public struct HypervisorContext: Sendable {
    let make: @Sendable () async throws -> any Hypervisor
    let backend: any Hypervisor
    let info: HypervisorInfo
    let fixture: MachineFixture
    /// A folder of its own, removed afterwards.
    let folder: HostPath
    /// Name prefix of the case's machines, which are all destroyed afterwards.
    let owner: OwnerTag

    func has(_ feature: Feature) -> Bool { info.features.contains(feature) }

    /// The name of one of the case's machines.
    func name(_ suffix: String) -> MachineID { MachineID(owner.rawValue + suffix) }

    /// A spec whose guest, where one runs, stays up until it is stopped.
    func spec(
        _ suffix: String = "1", io text: String = "HANG", log: Bool = false, snapshots: Bool = false
    ) async throws -> MachineSpec {
        let system = try await fixture.systemDisk(at: folder.appending("\(suffix)-system"), snapshots: snapshots)
        let io = try await fixture.ioDisk(text, at: folder.appending("\(suffix)-io"))
        return MachineSpec(
            id: name(suffix), memory: .mib(32), disks: [system, io],
            consoleLog: log ? folder.appending("\(suffix)-console") : nil)
    }

    /// A defined machine.
    func machine(_ suffix: String = "1", io text: String = "HANG") async throws -> any Machine {
        try await backend.create(try await spec(suffix, io: text))
    }

    /// A defined machine whose disk can hold snapshots.
    func snapshotMachine() async throws -> any Machine {
        try await backend.create(try await spec(snapshots: true))
    }

    /// A running machine.
    func running(_ suffix: String = "1") async throws -> any Machine {
        let machine = try await machine(suffix)
        try await machine.start()
        return machine
    }

    func expectState(_ machine: any Machine, _ wanted: MachineState, _ when: String) async throws {
        try expectEqual(try await machine.state(), wanted, "state \(when)")
    }

    /// Waits until the guest has ended by itself.
    func waitUntilStopped(_ machine: any Machine) async throws {
        try await eventually("the guest's power off", within: .seconds(60)) { try await machine.state() == .stopped }
    }

    /// Destroys all machines of the case.
    func cleanUp() async {
        for summary in (try? await backend.machines(ownedBy: owner)) ?? [] {
            try? await backend.machine(summary.id)?.destroy()
        }
    }
}
