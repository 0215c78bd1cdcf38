import Abstractions
import BackendSupport
import Host

/// The snapshots of a `MemoryMachine`: copies of its system disks, which must be small.
struct MemorySnapshots: SnapshotFacet {
    let machine: MemoryMachine

    func create(_ name: SnapshotID, scope: SnapshotScope) async throws { try await machine.takeSnapshot(name, scope) }
    func list() async throws -> [SnapshotSummary] { try await machine.listSnapshots() }
    func restore(_ name: SnapshotID) async throws { try await machine.restoreSnapshot(name) }
    func delete(_ name: SnapshotID) async throws { try await machine.deleteSnapshot(name) }
}

/// What is kept of one snapshot.
struct MemorySnapshot: Sendable {
    /// The state to go back to.
    var state: MachineState
    /// The bytes of the writable system disks.
    var disks: [HostPath: [UInt8]]
}

extension MemoryMachine {
    private var systemDisks: [HostPath] { attached.filter { $0.role == .system && !$0.readOnly }.map(\.image.path) }

    fileprivate func takeSnapshot(_ name: SnapshotID, _ scope: SnapshotScope) throws {
        try checkThere("snapshots.create")
        try name.refuseUnusable("snapshots.create")
        guard snapshotTree.find(name) == nil || fault == .snapshotDuplicateAllowed else {
            throw BackendError(
                .alreadyExists, "snapshots.create", "machine '\(id)' has a snapshot '\(name)' already", blame: .caller)
        }
        if scope == .diskAndMemory {
            guard now == .running || now == .paused else {
                throw illegal("snapshots.create", "has no memory to keep")
            }
            guard guest == nil else {
                throw BackendError(
                    .unsupported, "snapshots.create",
                    "the memory of a guest program cannot be kept; take the disks only")
            }
        }
        if let other = owner.machine(sharing: systemDisks, with: id) {
            throw BackendError(
                .inUse, "snapshots.create",
                "a disk of machine '\(id)' is attached to machine '\(other)' too, so no snapshot of it can be taken",
                blame: .caller)
        }
        var disks: [HostPath: [UInt8]] = [:]
        for path in systemDisks { disks[path] = try HostFiles.read(path) }
        snapshotTree.add(name, scope, MemorySnapshot(state: now, disks: disks))
    }

    fileprivate func listSnapshots() throws -> [SnapshotSummary] {
        try checkThere("snapshots.list")
        return snapshotTree.summaries
    }

    fileprivate func restoreSnapshot(_ name: SnapshotID) throws {
        try checkThere("snapshots.restore")
        let node = try find(name, "snapshots.restore")
        guard node.scope == .diskAndMemory || (now != .running && now != .paused) else {
            throw illegal("snapshots.restore", "must be stopped to take its disks back")
        }
        guard guest == nil else { throw illegal("snapshots.restore", "must be stopped to take its disks back") }
        for (path, bytes) in node.content.disks { try HostFiles.write(bytes, to: path, durable: true) }
        snapshotTree.goBack(to: name)
        let wanted: MachineState =
            node.scope == .diskAndMemory ? node.content.state : now == .defined ? .defined : .stopped
        if wanted != now { become(wanted) }
    }

    fileprivate func deleteSnapshot(_ name: SnapshotID) throws {
        try checkThere("snapshots.delete")
        _ = try find(name, "snapshots.delete")
        snapshotTree.remove(name, withChildren: fault == .snapshotDeleteDropsChildren)
    }

    private func find(_ name: SnapshotID, _ operation: String) throws -> SnapshotTree<MemorySnapshot>.Node {
        guard let node = snapshotTree.find(name) else {
            throw BackendError(.notFound, operation, "machine '\(id)' has no snapshot '\(name)'", blame: .caller)
        }
        return node
    }
}
