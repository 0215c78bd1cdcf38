import Abstractions
import BackendSupport
import CGuestfs
import Host
import Synchronization
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// What a session has open: the staged view, its NBD server and, while it needs one, an appliance. Blocks; only the session's
/// worker enters it.
///
/// ```
///   image --StagedView-- NBD socket -- appliance's QEMU -- its kernel -- daemon -- libguestfs -- here
/// ```
/// The appliance comes with the first file system that is asked for. One volume is mounted at a time, as `/`: so a link of the
/// guest leads where it would lead there. Before a commit and at the end everything is unmounted, written and unplugged.
final class GuestFSCore: @unchecked Sendable {
    // Confined to the worker's thread, but for `interrupt`, `kill`, `activity`, `isStopped` and `stagingFailure`.
    let mode: AccessMode
    let view: StagedView
    let server: NBDServer
    private let pool: AppliancePool
    private let appliance = Mutex<(isWanted: Bool, current: RunningAppliance?)>((true, nil))
    private let readiness = Atomic(false)
    private var mounted: VolumeID?
    private var isOver = false
    private var hasBtrfs = false
    var drives: [VolumeID: RunningAppliance.Drive] = [:]
    /// Whether LVM has the disk in its hands.
    var isLogicalOpen = false
    /// The logical volumes, while they are open.
    var logical: [Volume]?

    /// Opens the image.
    init(_ image: DiskImage, _ mode: AccessMode, socket: HostPath, pool: AppliancePool) throws {
        self.mode = mode
        self.pool = pool
        view = try StagedView(image, mode)
        server = try NBDServer(view, on: socket)
    }

    /// The disk's volumes; the appliance looks for logical ones.
    ///
    /// - Throws: `unavailable`, `crashed`, `internal`.
    func volumes() throws -> [Volume] { view.volumes + (try logicalVolumes()) }

    /// The handle with this volume mounted.
    ///
    /// - Throws: `notFound`, `unsupported`, `corrupt`, `unavailable`, `crashed`.
    func guest(_ volume: VolumeID) throws -> GuestHandle {
        if isOver { throw BackendError(.invalidState, "disk.filesystem", "the session is closed") }
        if mounted == volume, let running { return running.guest }
        let found = try find(volume)
        guard let recipe = MountRecipe.of(found.fileSystem) else {
            throw BackendError(
                .unsupported, "disk.filesystem",
                "volume \(volume) has \(found.fileSystem ?? "no known file system"), not one of "
                    + MountRecipe.fileSystems.joined(separator: ", "))
        }
        guard let options = mode == .readOnly ? recipe.reading : recipe.writing else {
            throw BackendError(.unsupported, "disk.filesystem", "\(recipe.type) on \(volume) can only be read")
        }
        let isLogical = logical?.contains(found) == true
        if !isLogical, let objection = try view.objection(to: found) { throw objection }
        try release(keepingLogical: isLogical)
        let appliance = try launched()
        if isLogical, let objection = try objection(toLogical: found, appliance.guest) { throw objection }
        let device = try isLogical ? GuestFSCore.device(ofLogical: found.id) : plug(found.id, appliance)
        hasBtrfs = hasBtrfs || recipe.type == "btrfs"
        try appliance.guest.mount(device, recipe.type, options, "the file system on \(found.id)")
        appliance.guest.keepsOwners = recipe.keepsOwners
        mounted = volume
        return appliance.guest
    }

    func commit() throws {
        guard mode == .readWrite else {
            throw BackendError(.invalidState, "disk.commit", "the session is read-only")
        }
        try release()
        try view.commit()
    }

    /// Lets the image go, and the appliance when it is to be used again.
    func close(isSound: Bool) {
        isOver = true
        let given = isSound && running != nil && (try? release()) != nil
        let last = appliance.withLock { state in
            defer { state.current = nil }
            state.isWanted = false
            return state.current
        }
        if let last, given {
            pool.giveBack(last)
        } else if let last {
            // What was not committed is dropped with the view, so nobody waits for the appliance to write it.
            server.end()
            try? last.end()
        }
        server.end()
        view.close()
    }

    // MARK: - For any thread

    /// Interrupts a transfer under way.
    func interrupt() { appliance.withLock { $0.current }?.guest.cancel() }

    /// Frees the worker from a call that hangs: without its QEMU every call of libguestfs ends. No appliance is started any more.
    func kill() {
        let last = appliance.withLock { state in
            state.isWanted = false
            return state.current
        }
        if let last { Appliance.kill(using: last.socket) }
    }

    /// Whether somebody stopped the appliance.
    var isStopped: Bool { appliance.withLock { $0.current }.map { Appliance.isStopped(using: $0.socket) } ?? false }

    /// The signs of life so far; nil while there is no appliance that could give any.
    var activity: UInt64? {
        guard readiness.load(ordering: .acquiring), let running else { return nil }
        return running.guest.activity.count &+ server.activity.count
    }

    /// The first write of the appliance that could not be staged: the cause of whatever it complains about since.
    var stagingFailure: BackendError? { view.failure }

    // MARK: - Parts

    private var running: RunningAppliance? { appliance.withLock { $0.current } }

    private func find(_ volume: VolumeID) throws -> Volume {
        let known = view.volumes.first { $0.id == volume }
        if let known, known.fileSystem != MountRecipe.physicalVolume { return known }
        let logical = try logicalVolumes()
        if known != nil { return try only(of: logical, in: volume) }
        guard let found = logical.first(where: { $0.id == volume }) else {
            throw BackendError(.notFound, "disk.filesystem", "the disk has no volume \(volume)")
        }
        return found
    }

    /// The appliance, which is started when the session has none.
    func launched() throws -> RunningAppliance {
        if let running { return running }
        do {
            let taken = try pool.take { candidate in
                appliance.withLock { state in
                    state.current = state.isWanted ? candidate : nil
                    return state.isWanted
                }
            }
            taken.guest.prepareThread()
            readiness.store(true, ordering: .releasing)
            return taken
        } catch {
            appliance.withLock { $0.current = nil }
            throw error
        }
    }

    /// Plugs a volume in, unless it is.
    ///
    /// - Returns: its path in the appliance.
    func plug(_ volume: VolumeID, _ appliance: RunningAppliance) throws -> String {
        if let drive = drives[volume] { return drive.device }
        // LVM opens its disks for writing even to read them; a write fails at the server.
        let isPhysical = view.volumes.first { $0.id == volume }?.fileSystem == MountRecipe.physicalVolume
        let drive = try appliance.attach(
            volume.rawValue, of: server.path, isReadOnly: mode == .readOnly && !isPhysical)
        drives[volume] = drive
        return drive.device
    }

    /// Unmounts, writes everything and unplugs all disks, so that nothing can reach the image any more.
    private func release(keepingLogical: Bool = false) throws {
        guard let running else { return }
        let guest = running.guest
        if mounted != nil {
            try guest.check(guestfs_umount_all(guest.pointer), "disk.commit", "the file system cannot be unmounted")
            mounted = nil
        }
        if keepingLogical { return }
        if isLogicalOpen {
            try guest.check(
                guestfs_vg_activate_all(guest.pointer, 0), "disk.commit", "the volume groups cannot be closed")
            logical = nil
            isLogicalOpen = false
        }
        guard !drives.isEmpty else { return }
        try guest.check(guestfs_sync(guest.pointer), "disk.commit", "the appliance could not write everything")
        for (volume, drive) in drives {
            try running.detach(drive)
            drives[volume] = nil
        }
        // The kernel's btrfs remembers a disk by its identity and would refuse an older state of it.
        if hasBtrfs { try guest.run("btrfs device scan --forget") }
        hasBtrfs = false
    }
}
