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

    /// What works for this user.
    ///
    /// - Throws: `unavailable`, with the remedy.
    static func choose(_ wish: String?) throws -> Mounter {
        if let wish, let known = Mounter(rawValue: wish) {
            if let problem = known.problem { throw problem }
            return known
        }
        if kernel.problem == nil { return .kernel }
        if let problem = fuse2fs.problem { throw problem }
        return .fuse2fs
    }

    /// Why it cannot work here; nil when it may.
    var problem: BackendError? {
        func unavailable(_ text: String) -> BackendError {
            BackendError(.unavailable, "vdfuse.mount", text, blame: .host)
        }
        switch self {
        case .kernel:
            if geteuid() != 0 {
                return unavailable("mounting with the kernel takes root; the option mounter=fuse2fs does not")
            }
            if access("/dev/loop-control", R_OK | W_OK) != 0 {
                return unavailable("/dev/loop-control cannot be opened; `modprobe loop` as root makes it")
            }
        case .fuse2fs:
            for name in ["fuse2fs", "fusermount3"] where HostEnvironment.program(name) == nil {
                return unavailable("\(name) is not installed; `apt install fuse2fs fuse3` as root cures it")
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
