import Abstractions
import BackendSupport

/// VirtualBox's own snapshots: a differencing image over each disk that takes part.
///
/// The IO disk and read-only disks take no part: they were attached as `writethrough` and `immutable`. A snapshot of a running
/// machine holds its memory too, which VirtualBox cannot leave out; a restore drops it where the scope was the disks.
struct VBoxManageSnapshots: SnapshotFacet {
    let machine: VBoxManageMachine
    private var record: MachineRecord { machine.record }

    func create(_ name: SnapshotID, scope: SnapshotScope) async throws {
        let operation = "snapshots.create"
        try await record.call(operation) {
            let info = try await machine.info(operation)
            var description: [String] = []
            if scope == .diskAndMemory {
                let now = info.state(record.folder)
                guard now == .running || now == .paused else {
                    throw machine.wrongState(operation, now, "only a running or paused machine has memory to keep")
                }
                guard machine.tool.headless != nil else { throw machine.tool.missingHeadless(operation) }
                description = ["--description", SnapshotNode.description(withMemoryOf: now)]
            }
            try name.refuseUnusable(operation)
            guard !info.snapshots.contains(where: { $0.name == name }) else {
                throw BackendError(
                    .alreadyExists, operation, "machine '\(record.id)' has a snapshot '\(name)'", blame: .caller)
            }
            try await refuseShared(operation)
            do {
                try await machine.tool.whenUnlocked(
                    operation, ["snapshot", record.uuid, "take", name.rawValue] + description,
                    within: .seconds(300))
            } catch {
                throw await namingTheOther(error)
            }
        }
    }

    func list() async throws -> [SnapshotSummary] {
        if record.isGone { throw record.notFound("snapshots.list") }
        let nodes = try await machine.info("snapshots.list").snapshots
        return nodes.map { node in
            SnapshotSummary(
                name: node.name, parent: node.parent.flatMap { uuid in nodes.first { $0.uuid == uuid }?.name },
                scope: node.memoryState == nil ? .disk : .diskAndMemory, isCurrent: node.isCurrent)
        }
    }

    func restore(_ name: SnapshotID) async throws {
        let operation = "snapshots.restore"
        try await record.call(operation) {
            let node = try await find(name, operation)
            if let state = node.memoryState { return try await restoreMemory(node, state, operation) }
            let now = try await machine.presentState(operation)
            guard now == .defined || now == .stopped || now == .crashed else {
                throw machine.wrongState(operation, now, "stop it before its disks are taken back")
            }
            try await restoreDisks(node, operation)
            if try await machine.info(operation).stateWord.hasSuffix("saved") {
                try await machine.tool.whenUnlocked(operation, ["discardstate", record.uuid])
            }
            if record.folder.isOurs { record.folder.settle() }
            record.publish(try await machine.presentState(operation))
        }
    }

    /// VirtualBox takes nothing back while the machine's process is there, so there is a new one.
    private func restoreMemory(_ node: SnapshotNode, _ state: MachineState, _ operation: String) async throws {
        try await machine.forceStop(operation)
        try await restoreDisks(node, operation)
        do {
            try await machine.launchPaused(operation)
            if state == .running { try await machine.tool(operation, ["controlvm", record.uuid, "resume"]) }
        } catch {
            // It has the old disks and no memory.
            await shielded { [machine] in try? await machine.forceStop(operation) }
            throw error
        }
        record.publish(state)
    }

    /// Takes the disks back, and looks whether they are what the snapshot holds: each one that took part is now an empty layer over that
    /// which the snapshot has, before the guest runs.
    private func restoreDisks(_ node: SnapshotNode, _ operation: String) async throws {
        let tool = machine.tool
        try await tool.whenUnlocked(
            operation, ["snapshot", record.uuid, "restore", node.uuid], within: .seconds(300))
        let held = try await tool.whenUnlocked(operation, ["snapshot", record.uuid, "showvminfo", node.uuid])
        let disks = RegisteredMedium.list(try await tool.whenUnlocked(operation, ["list", "hdds"]))
        let attached = try await machine.info(operation).media
        for disk in disks where attached.contains(disk.location) && !held.contains(disk.uuid) {
            func wrong(_ how: String) -> BackendError {
                BackendError(
                    .corrupt, operation, "disk \(disk.location) is not what the snapshot holds: \(how)", blame: .backend
                )
            }
            guard let parent = disk.parent, held.contains(parent) else { throw wrong("it lies over another disk") }
            let blocks = try DifferencingImage.blocks(in: disk.location)
            guard blocks == 0 else { throw wrong("\(blocks) of its blocks \(blocks == 1 ? "is" : "are") not") }
        }
    }

    func delete(_ name: SnapshotID) async throws {
        let operation = "snapshots.delete"
        try await record.call(operation) {
            let node = try await find(name, operation)
            // Merging writes all of a layer into another one.
            try await machine.tool.whenUnlocked(
                operation, ["snapshot", record.uuid, "delete", node.uuid], within: .seconds(1800))
        }
    }

    private func find(_ name: SnapshotID, _ operation: String) async throws -> SnapshotNode {
        let found = try await machine.info(operation).snapshots.filter { $0.name == name }
        guard let node = found.first else {
            throw BackendError(
                .notFound, operation, "machine '\(record.id)' has no snapshot '\(name)'", blame: .caller)
        }
        guard found.count == 1 else {
            throw BackendError(
                .invalidState, operation,
                "machine '\(record.id)' has \(found.count) snapshots called '\(name)'; rename one")
        }
        return node
    }

    /// VirtualBox does not know that two machines have one raw image: what stands for it is each machine's own.
    private func refuseShared(_ operation: String) async throws {
        let files = record.folder.imageFiles
        let root = record.folder.path.parent
        let others = RegisteredMachine.list(try await machine.tool.whenUnlocked(operation, ["list", "vms"]))
        for other in others where other.uuid != record.uuid {
            let theirs = MachineFolder(path: root.appending(other.id.rawValue)).imageFiles
            guard let file = theirs.first(where: files.contains) else { continue }
            throw sharing(file, with: other.id, operation)
        }
    }

    private func sharing(_ disk: HostPath?, with other: MachineID, _ operation: String) -> BackendError {
        BackendError(
            .inUse, operation,
            "\(disk.map { "disk \($0)" } ?? "a disk") of machine '\(record.id)' is attached to machine '\(other)' too, so no snapshot of it can be "
                + "taken; detach it there", blame: .caller)
    }

    /// VirtualBox names the other machine of a disk that two have by its uuid.
    private func namingTheOther(_ error: any Error) async -> any Error {
        guard let known = error as? BackendError, known.message.contains("is attached to a virtual machine"),
            let machines = try? await machine.tool("snapshots.create", ["list", "vms"]),
            let other = RegisteredMachine.list(machines).first(where: { known.message.contains($0.uuid) })
        else { return error }
        var clear = sharing(nil, with: other.id, "snapshots.create")
        clear.native = known.native
        return clear
    }
}
