import Abstractions
import BackendSupport
import CGuestfs
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The small machine of libguestfs, which serves one session after another.
///
/// ```
///   launch -- attach -- mount … unmount -- detach -- attach -- … -- end
///             '---- one session ---------------'
/// ```
/// Each volume comes as a disk of its own that is plugged in for one session: what the appliance's kernel has cached of it goes
/// with the disk, so nothing that one session read or left shows in the next. libguestfs itself plugs nothing in after the launch;
/// the control socket of its QEMU does.
final class RunningAppliance: @unchecked Sendable {
    // One session's worker at a time has it; `guest.cancel` and the functions of `Appliance` with `socket` are for any thread.
    let guest: GuestHandle
    /// QEMU's control socket; its path is also the mark on QEMU's command line.
    let socket: HostPath
    private let folder: HostPath
    private let shortFolder: HostPath
    private var monitor: MachineMonitor?
    private var drives = 0

    /// A disk that is plugged in.
    struct Drive {
        fileprivate let node: String
        fileprivate var identifier: String { "d\(node)" }
        /// Its path in the appliance, as soon as the kernel has seen it.
        let device: String
    }

    /// Makes what a launch needs; starts nothing.
    ///
    /// - Parameter verbose: the appliance tells all it does: to find out why it does not start.
    init(verbose: Bool) throws {
        folder = try RunScope.makeProcessFolder("guestfs")
        do {
            shortFolder = try RunScope.makeProcessFolder("gfs", short: true)
        } catch {
            try? RunScope.removeProcessFolder(folder)
            throw error
        }
        socket = shortFolder.appending("qmp")
        // Sockets go to XDG_RUNTIME_DIR, whose path must be short; nothing else of the user's settings changes what we do.
        var environment = ["XDG_RUNTIME_DIR": shortFolder.string]
        environment["LIBGUESTFS_PATH"] = HostEnvironment.variable("LIBGUESTFS_PATH")
        environment["LIBGUESTFS_HV"] = HostEnvironment.variable("LIBGUESTFS_HV")
        do {
            guest = try GuestHandle(environment: environment, verbose: verbose)
        } catch {
            for folder in [folder, shortFolder] { try? RunScope.removeProcessFolder(folder) }
            throw error
        }
    }

    /// Starts it.
    ///
    /// - Parameters:
    ///   - accelerated: with KVM, where the library finds one.
    ///   - limit: the longest time from QEMU's start on; nil: the caller's business.
    /// - Throws: `crashed` with what library, QEMU or appliance complained about. Whatever it throws, `end` is still due.
    func launch(accelerated: Bool, within limit: Duration?) throws {
        let cache = Appliance.cache
        try HostFiles.makeDirectories(cache)
        try RunScope.current?.journal.append(.process("libguestfs appliance"))
        try configure(cache, accelerated: accelerated)
        let watch = LaunchWatch(socket, limit)
        let result = guestfs_launch(guest.pointer)
        watch.end()
        guard result == 0 else { throw guest.launchFailure() }
        monitor = try MachineMonitor(socket)
        guest.forgetLog()
    }

    private func configure(_ cache: HostPath, accelerated: Bool) throws {
        func set(_ result: Int32, _ what: String) throws {
            guard result == 0 else {
                let text = guestfs_last_error(guest.pointer).map { String(cString: $0) } ?? "no reason given"
                throw BackendError(.internal, "disk.open", "libguestfs does not take \(what): \(text)")
            }
        }
        try set(guestfs_set_backend(guest.pointer, "direct"), "the backend direct")
        if !accelerated {
            // Where KVM is there and does not work, the appliance would hang without a word.
            try set(guestfs_set_backend_setting(guest.pointer, "force_tcg", "1"), "force_tcg")
            // An emulated processor does not speculate, and its guards cost a quarter of the start.
            try set(guestfs_set_append(guest.pointer, "mitigations=off"), "a kernel argument")
            let processor = (["max"] + InterpretedProcessor.slowFeatures.map { "-\($0)" }).joined(separator: ",")
            try set(guestfs_config(guest.pointer, "-cpu", processor), "the processor \(processor)")
        }
        try set(guestfs_set_cachedir(guest.pointer, cache.string), "the cache folder \(cache)")
        try set(guestfs_set_tmpdir(guest.pointer, folder.string), "the temporary folder \(folder)")
        try set(guestfs_set_memsize(guest.pointer, 512), "512 MiB of memory")
        // It wants a disk to start with; an empty one makes its SCSI bus.
        try set(guestfs_add_drive(guest.pointer, "/dev/null"), "an empty disk")
        try set(
            guestfs_config(guest.pointer, "-qmp", "unix:\(socket),server=on,wait=off"), "the control socket \(socket)")
    }

    /// Whether its QEMU still answers; takes at most five seconds.
    var answers: Bool {
        guard guest.isReady, let monitor, !Appliance.isStopped(using: socket) else { return false }
        return (try? monitor.execute("query-status")) != nil
    }

    /// Kills it and removes what it had; it must have no disk whose content matters any more.
    ///
    /// - Throws: what the host says about the first entry that stays.
    func end() throws {
        monitor = nil
        guest.prepareThread()
        Appliance.kill(using: socket)
        guestfs_shutdown(guest.pointer)
        guest.close()
        for folder in [folder, shortFolder] { try RunScope.removeProcessFolder(folder) }
    }

    // MARK: - Disks

    /// Plugs in an export of an NBD server; the appliance's kernel sees it a moment later.
    ///
    /// - Throws: `internal` with QEMU's words, `timeout`, `crashed`.
    func attach(_ export: String, of server: HostPath, isReadOnly: Bool) throws -> Drive {
        let monitor = try connected()
        drives += 1
        let node = "av\(drives)"
        try monitor.execute(
            "blockdev-add",
            NBDNode(name: node, server: .init(path: server.string), export: export, isReadOnly: isReadOnly))
        let drive = Drive(node: node, device: "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_\(node)")
        do {
            // An address is not used again soon: the kernel may still be taking away what was there.
            try monitor.execute(
                "device_add", SCSIDisk(drive: node, id: drive.identifier, target: 2 + drives % 200, serial: node))
        } catch {
            try? monitor.execute("blockdev-del", NodeName(name: node))
            throw error
        }
        return drive
    }

    /// Pulls a disk out; what the appliance has not written by now is lost.
    ///
    /// - Throws: `internal` with QEMU's words, `timeout`, `crashed`.
    func detach(_ drive: Drive) throws {
        let monitor = try connected()
        try monitor.execute("device_del", DeviceName(id: drive.identifier))
        try monitor.waitForRemoval(of: drive.identifier)
        try monitor.execute("blockdev-del", NodeName(name: drive.node))
    }

    private func connected() throws -> MachineMonitor {
        guard let monitor else { throw BackendError(.invalidState, "appliance", "the appliance does not run") }
        return monitor
    }
}

// MARK: - Arguments of QEMU's commands; source: QEMU, qapi/block-core.json and `-device scsi-hd,help`.

private struct NBDNode: Encodable {
    struct Server: Encodable {
        var type = "unix"
        var path: String
    }
    var driver = "nbd"
    var name: String
    var server: Server
    var export: String
    var isReadOnly: Bool

    enum CodingKeys: String, CodingKey {
        case driver, server, export
        case name = "node-name"
        case isReadOnly = "read-only"
    }
}

private struct SCSIDisk: Encodable {
    var driver = "scsi-hd"
    var bus = "scsi.0"
    var drive: String
    var id: String
    var target: Int
    var lun = 0
    var serial: String

    enum CodingKeys: String, CodingKey {
        case driver, bus, drive, id, lun, serial
        case target = "scsi-id"
    }
}

private struct NodeName: Encodable {
    var name: String
    enum CodingKeys: String, CodingKey { case name = "node-name" }
}

private struct DeviceName: Encodable {
    var id: String
}
