import Abstractions
import BackendSupport
import Clibvirt
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Snapshots inside the system disks of a machine, which must be qcow2 for that. The IO disk and read-only disks take no part.
struct LibvirtSnapshots: SnapshotFacet {
    let machine: LibvirtMachine

    func create(_ name: SnapshotID, scope: SnapshotScope) async throws {
        try await work("snapshots.create") { try $0.create(name, scope) }
    }

    func list() async throws -> [SnapshotSummary] {
        try await work("snapshots.list") { try StoredSnapshots.load($0.domain, "snapshots.list").summaries }
    }

    func restore(_ name: SnapshotID) async throws { try await work("snapshots.restore") { try $0.restore(name) } }

    func delete(_ name: SnapshotID) async throws { try await work("snapshots.delete") { try $0.delete(name) } }

    private func work<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (SnapshotWork) throws -> Value
    ) async throws -> Value {
        let machine = machine
        return try await machine.record.call(operation) {
            try machine.connection.withDomain(operation, machine.record) { domain in
                try body(SnapshotWork(machine: machine, domain: domain, operation: operation))
            }
        }
    }
}

/// One piece of work on the snapshots of a domain, on the machine's thread.
struct SnapshotWork {
    let machine: LibvirtMachine
    let domain: OpaquePointer
    let operation: String
    private var record: MachineRecord { machine.record }

    /// Every tag of this machine begins like this: QEMU takes a bare number for a snapshot's id, and a disk outlives its machine.
    private var prefix: String { "anyvisor.\(record.uuid.prefix(8))." }
    private func tag(_ name: SnapshotID) -> String { prefix + name.rawValue }

    func create(_ name: SnapshotID, _ scope: SnapshotScope) throws {
        try name.refuseUnusable(operation)
        var tree = try StoredSnapshots.load(domain, operation)
        guard tree.find(name) == nil else {
            throw BackendError(
                .alreadyExists, operation, "machine '\(record.id)' has a snapshot '\(name)' already", blame: .caller)
        }
        let state = try currentState(domain, record)
        let isActive = virDomainIsActive(domain) == 1
        guard scope == .disk || isActive else {
            throw machine.wrongState(operation, state, "only a running or paused machine has memory to keep")
        }
        let files = try takingPart()
        try refuseShared(files)
        let disks = try snapshots(files, isActive)
        // One that a killed process left behind has a name that the tree does not know.
        try disks.delete(tag(name))
        do {
            if scope == .diskAndMemory, let running = disks as? RunningSnapshots {
                try running.createWithMemory(tag(name))
            } else {
                try disks.create(tag(name))
            }
        } catch {
            try? disks.delete(tag(name))
            throw fullHost(files) ?? error
        }
        tree.add(name, scope, state)
        do {
            try StoredSnapshots.store(tree, domain, operation)
        } catch {
            try? disks.delete(tag(name))
            throw error
        }
    }

    /// What QEMU calls an input/output error when it is the host that has no room for a guest's memory.
    private func fullHost(_ files: [HostPath]) -> BackendError? {
        for file in files {
            var room = statvfs()
            guard statvfs(file.string, &room) == 0, room.f_bavail * UInt(room.f_frsize) < 4 << 20 else { continue }
            return BackendError(
                .noSpace, operation, "no space is left on the host for a snapshot in \(file); free some", blame: .host)
        }
        return nil
    }

    func restore(_ name: SnapshotID) throws {
        var tree = try StoredSnapshots.load(domain, operation)
        guard let node = tree.find(name) else { throw unknown(name) }
        let files = try takingPart()
        let isActive = virDomainIsActive(domain) == 1
        switch node.scope {
        case .disk:
            guard !isActive else {
                throw machine.wrongState(
                    operation, try currentState(domain, record), "stop it before its disks are taken back")
            }
            try MachineSpec.refuseOpenRedoLogs(files)
            try StoppedSnapshots(files: files, operation: operation).restore(tag(name))
            record.stopped()
        case .diskAndMemory:
            try restoreMemory(name, files, isActive: isActive, resumes: node.content == .running)
        }
        tree.goBack(to: name)
        try StoredSnapshots.store(tree, domain, operation)
    }

    func delete(_ name: SnapshotID) throws {
        var tree = try StoredSnapshots.load(domain, operation)
        guard tree.find(name) != nil else { throw unknown(name) }
        try snapshots(try takingPart(), virDomainIsActive(domain) == 1).delete(tag(name))
        tree.remove(name)
        try StoredSnapshots.store(tree, domain, operation)
    }

    /// Removes what stands in the disks of a machine that is about to go and does not run.
    func deleteAll() {
        guard let files = try? takingPart() else { return }
        // A disk that is gone, or that somebody else has by now, keeps nobody from removing the machine.
        for file in files { try? StoppedSnapshots(files: [file], operation: operation).deleteAll(prefix) }
    }

    /// The guest stands still until the disks are known to be the snapshot's: they must not change before.
    private func restoreMemory(_ name: SnapshotID, _ files: [HostPath], isActive: Bool, resumes: Bool) throws {
        let disks = StoppedSnapshots(files: files, operation: operation)
        try disks.requirePresence(of: tag(name))
        if isActive {
            try check(virDomainSuspend(domain), "be paused")
        } else {
            try machine.launch(domain, operation, flags: VIR_DOMAIN_START_PAUSED)
        }
        do {
            let monitor = QEMUMonitor(domain: domain, operation: operation)
            try RunningSnapshots(monitor, files: files).restoreWithMemory(tag(name))
            try disks.verify(tag(name))
            if resumes { try check(virDomainResume(domain), "go on") }
        } catch {
            // It has neither the old state nor the new one.
            record.willStop()
            virDomainDestroy(domain)
            record.stopped()
            throw error
        }
    }

    private func check(_ status: Int32, _ what: String) throws {
        guard status == 0 else { throw libvirtError(operation, "machine '\(record.id)' cannot \(what)") }
    }

    private func snapshots(_ files: [HostPath], _ isActive: Bool) throws -> any DiskSnapshots {
        guard isActive else {
            try MachineSpec.refuseOpenRedoLogs(files)
            return StoppedSnapshots(files: files, operation: operation)
        }
        guard machine.features.contains(.liveSnapshots) else {
            throw machine.wrongState(
                operation, try currentState(domain, record),
                "stop it before its snapshots change: here only disks of a machine that is off have any")
        }
        return try RunningSnapshots(QEMUMonitor(domain: domain, operation: operation), files: files)
    }

    /// The disks of a snapshot.
    private func takingPart() throws -> [HostPath] {
        let disks = try description(of: domain, operation).disks.filter { $0.takesPart }
        if let other = disks.first(where: { $0.format != .qcow2 }) {
            throw BackendError(
                .unsupported, operation,
                "disk \(other.file) of machine '\(record.id)' is \(other.format), and only qcow2 holds snapshots here; give "
                    + "the machine a layer over it: anyvisor disk create LAYER --format qcow2 --parent \(other.file)",
                blame: .caller)
        }
        guard !disks.isEmpty else {
            throw BackendError(.unsupported, operation, "machine '\(record.id)' has no disk that a snapshot could hold")
        }
        return disks.map(\.file)
    }

    private func refuseShared(_ files: [HostPath]) throws {
        for other in try machine.connection.descriptions(operation) where other.uuid != record.uuid {
            guard let file = other.description.disks.map(\.file).first(where: files.contains) else { continue }
            throw BackendError(
                .inUse, operation,
                "disk \(file) of machine '\(record.id)' is attached to machine '\(other.name)' too, so no snapshot of it can "
                    + "be taken; detach it there", blame: .caller)
        }
    }

    private func unknown(_ name: SnapshotID) -> BackendError {
        BackendError(.notFound, operation, "machine '\(record.id)' has no snapshot '\(name)'", blame: .caller)
    }
}
