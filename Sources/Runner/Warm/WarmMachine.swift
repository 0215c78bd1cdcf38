import Abstractions
import Host

/// A machine that is up, waits for a job, and is kept with its memory in this moment. Whoever has it has it alone.
///
/// ```
/// make -> (paused) load -> resume -> the job -> pause -> unload -> restore -> (rehearse) -> (paused) …
/// ```
struct WarmMachine: Sendable {
    /// The machine.
    let machine: any Machine
    /// The host file that has its console. What the console's facet tells begins with earlier jobs where each start empties the file.
    let console: HostPath
    /// Its IO disk.
    let disk: SparseFile
    /// The run that it belongs to: the pool's.
    let scope: RunScope
    private let folder: HostPath
    private let rehearsal: Rehearsal
    private let deadlines: Deadlines
    private static let snapshot: SnapshotID = "warm"

    /// What a warm machine needs of its hypervisor.
    static let features: Set<Feature> = [.warmStart, .snapshots, .pause, .kernelBoot]

    /// Why this image cannot start warm on this hypervisor; nil when it can.
    static func obstacle(_ image: GuestImage, _ shape: MachineShape, _ info: HypervisorInfo) -> String? {
        let missing = features.subtracting(info.features)
        if !missing.isEmpty {
            return "hypervisor '\(info.name)' has no \(missing.map(\.rawValue).sorted().joined(separator: ", "))"
        }
        if image.kernel == nil || shape.cdrom != nil { return "image '\(image.name)' loads its kernel itself" }
        if image.disk == nil { return "image '\(image.name)' has no disk that could keep the machine's memory" }
        return nil
    }

    /// Boots a machine up to the moment in which it waits for a job, and keeps it there.
    ///
    /// - Throws: `unsupported` when the guest cannot wait, `timeout`, what the hypervisor says; nothing is left then.
    static func make(
        _ name: String, _ order: WarmOrder, on choice: HypervisorChain.Choice, in scope: RunScope,
        overlay: OverlayMaker, rehearsal: Rehearsal
    ) async throws -> WarmMachine {
        guard let base = order.image.disk, let kernel = order.image.kernel else {
            throw BackendError(.unsupported, "boot", "image '\(order.image.name)' cannot start warm")
        }
        let folder = scope.work.appending(name)
        try HostFiles.makeDirectories(folder)
        do {
            let system = try await overlay(base, folder, choice.info.snapshotFormats ?? choice.info.diskFormats)
            let disk = try SparseFile(making: folder.appending("io.raw"), size: order.room)
            let console = folder.appending("console.log")
            let id = MachineID("\(scope.owner)\(name)")
            var boot = kernel
            // Its counter of cycles leaps when it is taken back; a kernel that watches it would give it up for a slow clock each time.
            boot.commandLine += " anyvisor.warm tsc=nowatchdog"
            let spec = MachineSpec(
                id: id, cpus: order.shape.cpus, memory: order.shape.memory, boot: .kernel(boot),
                disks: [
                    DiskAttachment(system, role: .system),
                    DiskAttachment(DiskImage(path: disk.path, format: .raw), role: .io),
                ], network: order.shape.network, consoleLog: console)
            try spec.validate()
            try scope.journal.append(.process(id.rawValue))
            let machine = try await choice.hypervisor.create(spec)
            let warm = WarmMachine(
                machine: machine, console: console, disk: disk, scope: scope, folder: folder, rehearsal: rehearsal,
                deadlines: order.deadlines)
            do {
                try await warm.bootAndKeep()
            } catch {
                await warm.destroy(within: order.deadlines[.call])
                throw error
            }
            return warm
        } catch {
            try? HostFiles.removeTree(folder)
            throw error
        }
    }

    private func bootAndKeep() async throws {
        try await untilWaiting(token: "-", from: 0) { try await machine.start() }
        try await machine.pause?.pause()
        // What it reads from its disk for that is in the memory that is kept.
        try await rehearse()
        try await machine.snapshots?.create(Self.snapshot, scope: .diskAndMemory)
    }

    /// Lets the paused machine run a job that does nothing, and wait again; it is paused afterwards.
    ///
    /// - Throws: `timeout`, `unsupported` by a guest that knows no rehearsals, what the hypervisor and the host say.
    func rehearse() async throws {
        let start = HostFiles.size(console) ?? 0
        try await load(rehearsal.disk, .rehearsal)
        try await untilWaiting(token: rehearsal.token, from: start) { try await machine.pause?.resume() }
        try await machine.pause?.pause()
        try disk.clear()
    }

    /// Sets the machine going and returns when it waits for a job.
    private func untilWaiting(token: String, from start: Int64, _ go: () async throws -> Void) async throws {
        let log = EventLog(attempt: scope.id) { _ in }
        let tail = ConsoleTail(log: console, facet: nil, copy: nil, start: start)
        let watch = MachineWatch(
            machine, tasks: [], token: token, console: tail, deadlines: deadlines, log: log, awaited: .warm,
            staysOn: true)
        await watch.begin()
        do {
            try await go()
            await watch.markStarted()
            try await watch.untilReady()
        } catch {
            await watch.end()
            throw error
        }
        await watch.end()
        if let ending = await watch.ending { throw await failure(ending, watch) }
    }

    private func failure(_ ending: MachineWatch.Ending, _ watch: MachineWatch) async -> BackendError {
        let console = (try? HostFiles.readText(console)) ?? ""
        let evidence = ["console": String(console.suffix(4096))]
        switch ending {
        case .lost(let error): return error
        case .late(let reason): return BackendError(.timeout, "boot", reason, blame: .guest, evidence: evidence)
        case .done, .lingering:
            return BackendError(
                .unsupported, "boot", "the guest's agent knows no rehearsals: build its image again", blame: .guest)
        case .off:
            guard let said = await watch.agentError else {
                return BackendError(
                    .internal, "boot", "the machine ended before its guest was ready", blame: .guest,
                    evidence: evidence)
            }
            return BackendError(.unsupported, "boot", "the guest cannot wait for a job: \(said)", blame: .guest)
        }
    }

    /// Puts a job's disk into the paused machine.
    ///
    /// - Throws: what the host says.
    func load(_ job: HostPath, _ purpose: WakeBlock.Purpose = .job) async throws {
        let disk = disk
        try await onOwnThread {
            Result {
                try disk.fill(from: job)
                try disk.write(WakeBlock.make(purpose), at: 0)
            }
        }.get()
    }

    /// Gets the disk out of a machine that stands still, into the file that it was loaded from.
    ///
    /// - Throws: what the host says.
    func unload(to job: HostPath) async throws {
        let disk = disk
        try await onOwnThread {
            Result {
                try disk.write([UInt8](repeating: 0, count: WakeBlock.size), at: 0)
                try disk.copyOut(HostFiles.size(job) ?? disk.size, to: job)
            }
        }.get()
    }

    /// Takes the machine back to the moment in which it waits; nothing of the job is left in it, on its disks or in its memory.
    ///
    /// - Throws: `corrupt` when its disk is something else afterwards, what the hypervisor says.
    func restore() async throws {
        try disk.clear()
        try await machine.snapshots?.restore(Self.snapshot)
    }

    /// Removes it.
    func destroy(within limit: Duration) async {
        let late = BackendError(.timeout, "machine.destroy", "the hypervisor does not destroy \(machine.id)")
        do {
            try await abandoning(at: .now + limit, late) { [machine] in try await machine.destroy() }
        } catch {
            await killMachine(machine.id, of: scope)
        }
        try? HostFiles.removeTree(folder)
    }
}

/// What a warm machine shall be.
struct WarmOrder: Sendable {
    var image: GuestImage
    var shape: MachineShape
    /// Bytes of its IO disk.
    var room: Int64
    var deadlines: Deadlines
}
