import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What mounts a file of the FUSE server as a file system.
enum Mounter: String, Sendable {
    /// The kernel, over a loop device; takes root.
    case kernel
    /// `fuse2fs`, for everybody.
    case fuse2fs
    /// `ntfs-3g`, where the kernel has no ntfs3; takes root: as Debian ships it, it runs setuid, and root may not enter an ordinary
    /// user's FUSE mount.
    case ntfs3g = "ntfs-3g"

    /// Every file system that one of them may know, by `blkid`'s names.
    static let fileSystems = ["ext2", "ext3", "ext4", "vfat", "ntfs", "xfs", "btrfs", "iso9660", "squashfs"]
    /// Those that nobody writes to.
    static let readOnlyFileSystems: Set<String> = ["iso9660", "squashfs"]

    /// What works for this user and a file system. The wish `fuse2fs` stands for whatever mounts it without root.
    ///
    /// - Throws: `unavailable`, with the remedy; `unsupported` for a file system that nobody knows.
    static func choose(_ wish: String?, for type: String = "ext4") throws -> Mounter {
        let all: [Mounter] =
            switch type {
            case "ext2", "ext3", "ext4": [.kernel, .fuse2fs]
            case "ntfs": [.kernel, .ntfs3g]
            default: fileSystems.contains(type) ? [.kernel] : []
            }
        var problem = BackendError(.unsupported, "vdfuse.mount", "\(type) cannot be mounted")
        for mounter in all where wish == nil || (wish == "kernel") == (mounter == .kernel) {
            guard let obstacle = mounter.problem(with: type) else { return mounter }
            problem = obstacle
        }
        throw problem
    }

    /// Why it cannot work here; nil when it may.
    func problem(with type: String) -> BackendError? {
        func unavailable(_ text: String) -> BackendError {
            BackendError(.unavailable, "vdfuse.mount", text, blame: .host)
        }
        switch self {
        case .kernel:
            if geteuid() != 0 {
                let other = type.hasPrefix("ext") ? "; the option mounter=fuse2fs does not" : ""
                return unavailable("mounting \(type) with the kernel takes root\(other)")
            }
            if access("/dev/loop-control", R_OK | W_OK) != 0 {
                return unavailable("/dev/loop-control cannot be opened; `modprobe loop` as root makes it")
            }
            let name = KernelFileSystems.name(of: type)
            if !KernelFileSystems.has(type) {
                return unavailable("the kernel has no \(name); `modprobe \(name)` as root, if it is a module")
            }
        case .fuse2fs, .ntfs3g:
            if self == .ntfs3g, geteuid() != 0 {
                return unavailable("mounting ntfs takes root; the backend libguestfs does not")
            }
            for name in [rawValue, "fusermount3"] where HostEnvironment.program(name) == nil {
                return unavailable("\(name) is not installed; `apt install \(rawValue) fuse3` as root cures it")
            }
        }
        return nil
    }
}

extension Mounter {
    /// Why FUSE itself cannot work here; nil when it may.
    static var fuseProblem: BackendError? {
        if access("/dev/fuse", R_OK | W_OK) == 0 { return nil }
        let number = errno
        let text =
            number == ENOENT
            ? "/dev/fuse is missing; `modprobe fuse` as root makes it"
            : "/dev/fuse cannot be opened by this user; `chmod 0666 /dev/fuse` as root is what Debian has"
        return BackendError(
            .unavailable, "vdfuse.open", text, blame: .host,
            native: .init(domain: "errno", code: Int(number), text: String(cString: strerror(number))))
    }
}
