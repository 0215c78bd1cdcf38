import Abstractions

/// VirtualBox's own snapshots: a differencing image over each disk that takes part.
///
/// The IO disk and read-only disks take no part: they were attached as `writethrough` and `immutable`. A snapshot of a running
/// machine holds its memory too, which VirtualBox cannot leave out; a restore drops it, so that the scope is always the disks.
struct VBoxManageSnapshots: SnapshotFacet {
    let machine: VBoxManageMachine
    private var record: MachineRecord { machine.record }

    func create(_ name: SnapshotID, scope: SnapshotScope) async throws {
        let operation = "snapshots.create"
        try await record.call(operation) {
            let info = try await machine.info(operation)
            guard scope == .disk else {
                throw BackendError(.unsupported, operation, "vboxmanage keeps no memory in a snapshot; take the disks")
            }
            try check(name, operation)
            guard !info.snapshots.contains(where: { $0.name == name }) else {
                throw BackendError(
                    .alreadyExists, operation, "machine '\(record.id)' has a snapshot '\(name)'", blame: .caller)
            }
            do {
                try await machine.tool.whenUnlocked(operation, ["snapshot", record.uuid, "take", name.rawValue])
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
                scope: .disk, isCurrent: node.isCurrent)
        }
    }

    func restore(_ name: SnapshotID) async throws {
        let operation = "snapshots.restore"
        try await record.call(operation) {
            let node = try await find(name, operation)
            let now = try await machine.presentState(operation)
            guard now == .defined || now == .stopped || now == .crashed else {
                throw machine.wrongState(operation, now, "stop it before its disks are taken back")
            }
            try await machine.tool.whenUnlocked(
                operation, ["snapshot", record.uuid, "restore", node.uuid], within: .seconds(300))
            if try await machine.info(operation).stateWord.hasSuffix("saved") {
                try await machine.tool.whenUnlocked(operation, ["discardstate", record.uuid])
            }
            record.publish(try await machine.presentState(operation))
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

    private func check(_ name: SnapshotID, _ operation: String) throws {
        let scalars = name.rawValue.unicodeScalars
        guard let first = scalars.first, first != "-", !scalars.contains(where: { $0.value < 0x20 }) else {
            throw BackendError(
                .invalidArgument, operation,
                "snapshot name '\(name)' is empty, begins with a dash or has a control character")
        }
    }

    /// VirtualBox names the other machine of a disk that two have by its uuid.
    private func namingTheOther(_ error: any Error) async -> any Error {
        guard var known = error as? BackendError, known.message.contains("is attached to a virtual machine"),
            let machines = try? await machine.tool("snapshots.create", ["list", "vms"])
        else { return error }
        for other in RegisteredMachine.list(machines) where known.message.contains(other.uuid) {
            known.message =
                "a disk of machine '\(record.id)' is attached to machine '\(other.id)' too, so no snapshot of it "
                + "can be taken; detach it there"
        }
        return known
    }
}
