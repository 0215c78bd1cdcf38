import Abstractions
import BackendSupport
import CFuse3
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension MountedVolume {
    /// Mounts by mount(2) over a loop device, which goes with the mount.
    ///
    /// - Throws: `unavailable`, `crashed` for a server that is gone, `corrupt` for what the kernel refuses.
    static func mountWithKernel(
        _ file: ServedFile, _ type: String, _ source: HostPath, _ point: HostPath, _ mode: AccessMode
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
        let flags = flags(mode)
        let (name, options) = (KernelFileSystems.name(of: type), KernelFileSystems.options(type, mode))
        try LoopDevice.attached(to: descriptor, name: source, readOnly: isReadOnly) { device in
            guard Glibc.mount(device.string, point.string, name, flags, options) != 0 else { return }
            throw mountError(errno, file, type, mode)
        }
    }

    /// Nothing of a guest's file system is run, or opened as a device.
    static func flags(_ mode: AccessMode) -> UInt {
        // MS_NOSUID 2, MS_NODEV 4, MS_NOEXEC 8, MS_NOATIME 1024, MS_RDONLY 1
        UInt(2 | 4 | 8 | 1024 | (mode == .readOnly ? 1 : 0))
    }

    private static func mountError(
        _ number: Int32, _ file: ServedFile, _ type: String, _ mode: AccessMode
    ) -> BackendError {
        let native = BackendError.NativeError(
            domain: "errno", code: Int(number), text: String(cString: strerror(number)))
        func refused(_ text: String) -> BackendError {
            BackendError(.corrupt, "vdfuse.mount", text, blame: .disk, native: native)
        }
        switch number {
        case EROFS where mode == .readOnly, EACCES where mode == .readOnly:
            return refused(
                "the \(type) file system on \(file.name) was not unmounted cleanly, and its journal cannot be replayed on a "
                    + "disk that is only read; let a machine, or a writable mount, replay it")
        case EPERM, EACCES:
            let other = type.hasPrefix("ext") ? "; the option mounter=fuse2fs needs no such right" : ""
            return BackendError(
                .unavailable, "vdfuse.mount", "the kernel does not let this process mount\(other)", blame: .host,
                native: native)
        case ENODEV:
            return BackendError(
                .unavailable, "vdfuse.mount", "the kernel has no \(type), or its module does not load", blame: .host,
                native: native)
        case EIO, ENOTCONN, ECONNABORTED:
            return hostError("vdfuse.mount", "cannot read \(file.name)", errno: number)
        default:
            return refused(
                "the kernel refuses the \(type) file system on \(file.name); run \(KernelFileSystems.checker(of: type)) "
                    + "on the disk's content")
        }
    }

    /// Mounts by a FUSE program that dies with this process.
    ///
    /// - Throws: `unavailable`, `timeout`, `crashed` for a server that is gone, `corrupt` for what the program refuses.
    static func mountWithProgram(
        _ mounter: Mounter, _ file: ServedFile, _ source: HostPath, _ point: HostPath, _ mode: AccessMode,
        _ tether: HostPath, _ started: (TetheredProcess) -> Void
    ) throws -> TetheredProcess {
        let name = mounter.rawValue
        guard HostFiles.size(source) == file.size else {
            throw BackendError(.crashed, "vdfuse.mount", "the FUSE server is gone", retry: .reopen)
        }
        guard let program = HostEnvironment.program(name) else {
            throw BackendError(
                .unavailable, "vdfuse.mount", "\(name) is not installed; `apt install \(name)` as root cures it")
        }
        let words = arguments(mounter, mode) + [source.string, point.string]
        let process = try TetheredProcess(
            name, tether, [VDFuseHelper.tether, "\(getpid())", program.string] + words, operation: "vdfuse")
        started(process)
        let ready = eventually(within: .seconds(20)) {
            process.exit != nil || !MountTable.mounts(below: point).isEmpty
        }
        if process.exit != nil {
            let text = process.errors.split(separator: "\n").last.map { ": \($0)" } ?? ""
            throw BackendError(
                .corrupt, "vdfuse.mount", "\(name) refuses the file system on \(file.name)\(text)",
                causes: process.death.map { [$0] } ?? [])
        }
        guard ready else {
            process.kill()
            throw BackendError(.timeout, "vdfuse.mount", "\(name) did not mount \(file.name)", retry: .reopen)
        }
        return process
    }

    /// big_writes: libfuse 2 else writes 4 KiB at a time.
    private static func arguments(_ mounter: Mounter, _ mode: AccessMode) -> [String] {
        let access = mode == .readOnly ? "ro" : "rw,big_writes"
        // fakeroot: owners and modes are written as told, whoever mounts.
        guard mounter == .ntfs3g else { return ["-f", "-o", "\(access),fakeroot"] }
        // norecover: what Windows left unclean is refused, not repaired. no_def_opts: nobody else gets in.
        return ["-o", "\(access),no_detach,no_def_opts,silent,norecover,streams_interface=none"]
    }
}
