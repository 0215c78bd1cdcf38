import Abstractions
import BackendSupport
import CFuse3
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A volume's file system, mounted on the host. One thread at a time.
final class MountedVolume {
    /// Where it is mounted.
    let point: HostPath
    /// Everything that is done to its files.
    let tree: MountedTree
    private let server: TetheredProcess?

    /// Mounts a file of the FUSE server on an empty folder.
    ///
    /// - Throws: `corrupt` for a file system that the kernel refuses, `unavailable`, `crashed`.
    init(
        _ file: ServedFile, in folder: HostPath, on point: HostPath, _ mode: AccessMode, by mounter: Mounter,
        program: HostPath, started: (TetheredProcess) -> Void
    ) throws {
        let source = folder.appending(file.name)
        try RunScope.current?.journal.append(.mount(point))
        switch mounter {
        case .kernel:
            try MountedVolume.mountWithKernel(file, source, point, mode)
            server = nil
        case .fuse2fs:
            server = try MountedVolume.mountWithFuse2fs(file, source, point, mode, program, started)
        }
        let root = open(point.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard root >= 0 else { throw hostError("vdfuse.mount", "cannot open the mounted file system") }
        self.point = point
        tree = MountedTree(root: root)
    }

    /// Unmounts it, so that the server has all of it.
    ///
    /// - Throws: `inUse` while somebody is inside, `crashed`, what the host says about the last writes.
    func unmount() throws {
        let synced = syncfs(tree.root)
        let failure = hostError("vdfuse.unmount", "the file system could not write everything")
        tree.close()
        try takeAway()
        guard synced == 0 else { throw failure }
    }

    private func takeAway() throws {
        guard let server else {
            // Our own lookups may keep it busy for a moment after a descriptor is closed.
            var problem: Int32 = 0
            let done = eventually(within: .seconds(2)) {
                if umount2(point.string, 8) == 0 { return true }  // UMOUNT_NOFOLLOW
                problem = errno
                return problem != EBUSY
            }
            guard done, problem == 0 || problem == EBUSY else {
                throw hostError(
                    "vdfuse.unmount", "\(point) cannot be unmounted, close what is open in it", errno: problem)
            }
            return
        }
        if let death = server.death { throw death }
        guard let program = HostEnvironment.program("fusermount3") else {
            throw BackendError(.unavailable, "vdfuse.unmount", "fusermount3 is gone from this host")
        }
        let child = try ChildProcess(
            program, ["-u", "-q", "--", point.string], environment: ["PATH": "/usr/bin:/bin"], output: .null,
            errors: .null)
        guard child.wait() == .exited(0) else {
            throw BackendError(
                .inUse, "vdfuse.unmount", "\(point) cannot be unmounted, close what is open in it", blame: .host,
                retry: .backoff)
        }
        // Only its end says that it has written all.
        guard server.waitForEnd(.seconds(60)) else {
            server.kill()
            throw BackendError(.timeout, "vdfuse.unmount", "fuse2fs did not end", retry: .reopen)
        }
        if let exit = server.exit, exit != .exited(0), let death = server.death { throw death }
    }

    // MARK: - Mounting

    private static func mountWithKernel(
        _ file: ServedFile, _ source: HostPath, _ point: HostPath, _ mode: AccessMode
    ) throws {
        let isReadOnly = mode == .readOnly
        let descriptor = open(source.string, (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw hostError("vdfuse.mount", "cannot open \(file.name) of the FUSE server") }
        defer { close(descriptor) }
        // A server that was killed leaves an empty folder or file here.
        var info = stat()
        guard fstat(descriptor, &info) == 0, Int64(info.st_size) == file.size else {
            throw BackendError(.crashed, "vdfuse.mount", "the FUSE server is gone", retry: .reopen)
        }
        // errors=remount-ro: an image that says errors=panic would stop this host. noload: nothing is replayed.
        let options = isReadOnly ? "errors=remount-ro,noload" : "errors=remount-ro,noinit_itable"
        // MS_NOSUID 2, MS_NODEV 4, MS_NOEXEC 8, MS_NOATIME 1024, MS_RDONLY 1
        let flags = UInt(2 | 4 | 8 | 1024 | (isReadOnly ? 1 : 0))
        try LoopDevice.attached(to: descriptor, name: source, readOnly: isReadOnly) { device in
            guard Glibc.mount(device.string, point.string, "ext4", flags, options) != 0 else { return }
            throw mountError(errno, file)
        }
    }

    private static func mountError(_ number: Int32, _ file: ServedFile) -> BackendError {
        let native = BackendError.NativeError(
            domain: "errno", code: Int(number), text: String(cString: strerror(number)))
        switch number {
        case EPERM, EACCES:
            return BackendError(
                .unavailable, "vdfuse.mount",
                "the kernel does not let this process mount; the option mounter=fuse2fs needs no such right",
                blame: .host,
                native: native)
        case ENODEV:
            return BackendError(
                .unavailable, "vdfuse.mount",
                "the kernel has no ext4; `modprobe ext4` as root, or the option mounter=fuse2fs",
                blame: .host, native: native)
        case EIO, ENOTCONN, ECONNABORTED:
            return hostError("vdfuse.mount", "cannot read \(file.name)", errno: number)
        default:
            return BackendError(
                .corrupt, "vdfuse.mount",
                "the kernel refuses the file system on \(file.name); run e2fsck on the disk's content",
                native: native)
        }
    }

    private static func mountWithFuse2fs(
        _ file: ServedFile, _ source: HostPath, _ point: HostPath, _ mode: AccessMode, _ program: HostPath,
        _ started: (TetheredProcess) -> Void
    ) throws -> TetheredProcess {
        guard HostFiles.size(source) == file.size else {
            throw BackendError(.crashed, "vdfuse.mount", "the FUSE server is gone", retry: .reopen)
        }
        guard let fuse2fs = HostEnvironment.program("fuse2fs") else {
            throw BackendError(
                .unavailable, "vdfuse.mount", "fuse2fs is not installed; `apt install fuse2fs` as root cures it")
        }
        // fakeroot: owners and modes are written as told, whoever mounts. big_writes: libfuse 2 else writes 4 KiB at a time.
        let options = mode == .readOnly ? "ro,fakeroot" : "rw,fakeroot,big_writes"
        let process = try TetheredProcess(
            "fuse2fs", program,
            [VDFuseHelper.tether, "\(getpid())", fuse2fs.string, "-f", "-o", options, source.string, point.string],
            operation: "vdfuse")
        started(process)
        let ready = eventually(within: .seconds(20)) {
            process.exit != nil || !MountTable.mounts(below: point).isEmpty
        }
        if process.exit != nil {
            let text = process.errors.split(separator: "\n").last.map { ": \($0)" } ?? ""
            throw BackendError(
                .corrupt, "vdfuse.mount", "fuse2fs refuses the file system on \(file.name)\(text)",
                causes: process.death.map { [$0] } ?? [])
        }
        guard ready else {
            process.kill()
            throw BackendError(.timeout, "vdfuse.mount", "fuse2fs did not mount \(file.name)", retry: .reopen)
        }
        return process
    }
}
