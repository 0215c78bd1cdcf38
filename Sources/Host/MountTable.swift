import Abstractions
import CHost

#if canImport(Glibc)
    import Glibc
#endif

/// What is mounted on this host, and the way to get it away when its server is dead, stopped or in use.
public enum MountTable {
    /// All mounts at or below a folder, in the order in which they were made; empty where the table cannot be read.
    public static func mounts(below folder: HostPath) -> [MountPoint] {
        let root = normalized(folder)
        let text = (try? HostFiles.readText("/proc/self/mountinfo")) ?? ""
        return text.split(separator: "\n").compactMap { MountPoint(line: $0) }.filter { contains(root, $0.path) }
    }

    /// Takes away every mount at or below a folder and every loop device whose backing file lies there.
    ///
    /// It never waits for the server of a mount: as root it first breaks the connection of each (the calls that hang in it then
    /// fail), then detaches what lies on top. As an ordinary user it asks `fusermount3`, and a stopped server should be killed
    /// before. Blocks its thread, so never call it from the cooperative pool.
    /// - Returns: the mounts that are still there.
    @discardableResult
    public static func unmountAll(below folder: HostPath) -> [MountPoint] {
        let found = mounts(below: folder)
        // MNT_FORCE only breaks the connection here: as long as something is mounted on top the answer is EBUSY.
        if geteuid() == 0 {
            for mount in found where mount.isServed { umount2(mount.path.string, forced) }
        }
        for mount in found.reversed() where !mount.isServed { detach(mount) }
        // Before their backing files lose their path.
        for loop in LoopDevice.all() where contains(normalized(folder), loop.backingFile) { loop.release() }
        for mount in mounts(below: folder).reversed() { detach(mount) }
        return mounts(below: folder)
    }

    private static func detach(_ mount: MountPoint) {
        if umount2(mount.path.string, detached) == 0 { return }
        guard mount.isServed, errno == EPERM, let program = HostEnvironment.program("fusermount3") else { return }
        let child = try? ChildProcess(
            program, ["-u", "-z", "-q", "--", mount.path.string], environment: ["PATH": "/usr/bin:/bin"], output: .null,
            errors: .null)
        _ = child?.wait()
    }

    private static let forced = Int32(1 | 8)  // MNT_FORCE | UMOUNT_NOFOLLOW
    private static let detached = Int32(2 | 8)  // MNT_DETACH | UMOUNT_NOFOLLOW

    static func contains(_ folder: HostPath, _ path: HostPath) -> Bool {
        path == folder || path.string.hasPrefix(folder.string == "/" ? "/" : folder.string + "/")
    }

    /// A folder as the table names it: absolute, without links and trailing slash.
    ///
    /// The folder itself may be a dead mount, where every call fails, or hang with its server: so only what is above it is resolved,
    /// and what it is itself when it is a link.
    public static func normalized(_ folder: HostPath) -> HostPath {
        var path = HostFiles.absolute(folder)
        // The kernel follows 40 links.
        for _ in 0..<40 {
            guard path.name != ".", path.name != ".." else { return HostFiles.resolved(path) ?? path }
            guard path.string != "/", let parent = HostFiles.resolved(path.parent) else { return path }
            path = parent.appending(path.name)
            guard let target = HostFiles.linkTarget(path) else { return path }
            path = target.isAbsolute ? target : parent.appending(target.string)
        }
        return path
    }
}
