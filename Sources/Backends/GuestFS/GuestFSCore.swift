import Abstractions
import BackendSupport
import CGuestfs
import Host
import Synchronization
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// What a session has open: the staged view, its NBD server and the appliance. Blocks; only the session's worker enters it.
///
/// ```
///   image --StagedView-- NBD socket -- appliance's QEMU -- its kernel -- daemon -- libguestfs -- here
/// ```
/// The appliance starts with the first file system that is asked for. One volume is mounted at a time, as `/`: so a link of the
/// guest leads where it would lead there.
final class GuestFSCore: @unchecked Sendable {
    // Confined to the worker's thread, but for `socket`, `view` and `interrupt`, which may be used from any.
    let mode: AccessMode
    let socket: HostPath
    private let view: StagedView
    private let folder: HostPath
    private let shortFolder: HostPath
    private let isFast: Bool
    private let server: NBDServer
    private let handle = Mutex<GuestHandle?>(nil)
    private var mounted: VolumeID?
    private var isOver = false

    /// Opens the image; the appliance comes later.
    init(_ image: DiskImage, _ mode: AccessMode, folder: HostPath, shortFolder: HostPath, usesKVM: Bool) throws {
        self.mode = mode
        self.folder = folder
        self.shortFolder = shortFolder
        isFast = usesKVM
        socket = shortFolder.appending("nbd")
        view = try StagedView(image, mode)
        server = try NBDServer(view, on: socket)
    }

    var volumes: [Volume] { view.volumes }

    /// Interrupts a transfer under way; for any thread.
    func interrupt() { handle.withLock { $0 }?.cancel() }

    /// The handle with this volume mounted.
    ///
    /// - Throws: `notFound`, `unsupported`, `corrupt`, `unavailable`, `crashed`.
    func guest(_ volume: VolumeID) throws -> GuestHandle {
        if isOver { throw BackendError(.invalidState, "disk.filesystem", "the session is closed") }
        if mounted == volume, let open = handle.withLock({ $0 }) { return open }
        guard let found = view.volumes.first(where: { $0.id == volume }) else {
            throw BackendError(.notFound, "disk.filesystem", "the disk has no volume \(volume)")
        }
        guard let type = found.fileSystem, ["ext2", "ext3", "ext4"].contains(type) else {
            throw BackendError(
                .unsupported, "disk.filesystem",
                "volume \(volume) has \(found.fileSystem ?? "no known file system"), not ext2, ext3 or ext4")
        }
        if let guest = handle.withLock({ $0 }) { try unmount(guest) }
        if let objection = try view.objection(to: found) { throw objection }
        let guest = try handle.withLock({ $0 }) ?? launch()
        let device = volume == .whole ? "/dev/sda" : "/dev/sda\(volume.rawValue.drop { !$0.isNumber })"
        // errors=remount-ro: an image that says errors=panic would end the appliance. noload: nothing is replayed.
        let options = mode == .readOnly ? "ro,noload" : "noatime,noinit_itable,errors=remount-ro"
        guard guestfs_mount_options(guest.pointer, options, device, "/") == 0 else {
            var error = guest.failure("disk.filesystem", "the file system on \(volume) cannot be mounted")
            if error.code != .crashed { error.code = .corrupt }
            throw error
        }
        mounted = volume
        return guest
    }

    func commit() throws {
        guard mode == .readWrite else {
            throw BackendError(.invalidState, "disk.commit", "the session is read-only")
        }
        if let guest = handle.withLock({ $0 }) { try unmount(guest) }
        try view.commit()
    }

    func close() {
        isOver = true
        let guest = handle.withLock { handle in
            defer { handle = nil }
            return handle
        }
        if let guest {
            // What was not committed is dropped with the view, so nobody waits for the appliance to write it.
            server.end()
            Appliance.kill(using: socket)
            guestfs_shutdown(guest.pointer)
            guest.close()
        }
        server.end()
        view.close()
    }

    // MARK: - Parts

    private func unmount(_ guest: GuestHandle) throws {
        try guest.check(guestfs_umount_all(guest.pointer), "disk.commit", "the file system cannot be unmounted")
        mounted = nil
        try guest.check(guestfs_sync(guest.pointer), "disk.commit", "the appliance could not write everything")
    }

    /// Starts the appliance. The library's errors hide their cause unless it is verbose: so a start that failed is done again like that.
    private func launch() throws -> GuestHandle {
        let begun = ContinuousClock.now
        do {
            return try launch(verbose: false)
        } catch {
            guard ContinuousClock.now - begun < .seconds(20), !isOver else { throw error }
            return try launch(verbose: true)
        }
    }

    private func launch(verbose: Bool) throws -> GuestHandle {
        let cache = Appliance.cache
        try HostFiles.makeDirectories(cache)
        try RunScope.current?.journal.append(.process("libguestfs appliance"))
        // Sockets go to XDG_RUNTIME_DIR, whose path must be short; nothing else of the user's settings changes what we do.
        var environment = ["XDG_RUNTIME_DIR": shortFolder.string]
        environment["LIBGUESTFS_PATH"] = HostEnvironment.variable("LIBGUESTFS_PATH")
        environment["LIBGUESTFS_HV"] = HostEnvironment.variable("LIBGUESTFS_HV")
        let guest = try GuestHandle(environment: environment, verbose: verbose)
        handle.withLock { $0 = guest }
        do {
            try configure(guest, cache)
            let watch = SocketFolderWatch(socket)
            let result = guestfs_launch(guest.pointer)
            watch.end()
            guard result == 0 else {
                let text = guestfs_last_error(guest.pointer).map { String(cString: $0) } ?? "no reason given"
                throw BackendError(
                    .crashed, "disk.filesystem", "the appliance did not start", retry: .reopen,
                    native: .init(
                        domain: "libguestfs", code: Int(guestfs_last_errno(guest.pointer)), text: text),
                    evidence: ["appliance": guest.logTail])
            }
            guest.forgetLog()
            return guest
        } catch {
            handle.withLock { $0 = nil }
            guest.close()
            throw error
        }
    }

    private func configure(_ guest: GuestHandle, _ cache: HostPath) throws {
        func set(_ result: Int32, _ what: String) throws {
            guard result == 0 else {
                let text = guestfs_last_error(guest.pointer).map { String(cString: $0) } ?? "no reason given"
                throw BackendError(.internal, "disk.open", "libguestfs does not take \(what): \(text)")
            }
        }
        try set(guestfs_set_backend(guest.pointer, "direct"), "the backend direct")
        if !isFast {
            // Where KVM is there and does not work, the appliance would hang without a word.
            try set(guestfs_set_backend_setting(guest.pointer, "force_tcg", "1"), "force_tcg")
        }
        try set(guestfs_set_cachedir(guest.pointer, cache.string), "the cache folder \(cache)")
        try set(guestfs_set_tmpdir(guest.pointer, folder.string), "the temporary folder \(folder)")
        try set(guestfs_set_memsize(guest.pointer, 512), "512 MiB of memory")
        try set(av_guestfs_add_nbd(guest.pointer, "unix:\(socket)"), "the disk on \(socket)")
    }
}
