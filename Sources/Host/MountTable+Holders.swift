import Abstractions

extension MountTable {
    /// Who keeps a mount busy, for people: processes with an open file, their folder or their root there, loop devices over its
    /// files, mounts on top. What this user may not see is left out.
    public static func holders(of folder: HostPath) -> [String] {
        let root = normalized(folder)
        let processes = HostFiles.names(in: "/proc").compactMap { Int32($0) }.filter { holds($0, root) }.map { pid in
            let name = (try? HostFiles.readText(HostPath("/proc/\(pid)/comm")))?.prefix { $0 != "\n" } ?? ""
            return "process \(pid) (\(name))"
        }
        let loops = LoopDevice.all().filter { contains(root, $0.backingFile) }.map { "loop device \($0.device)" }
        let mounts = mounts(below: root).filter { $0.path != root }.map { "the mount on \($0.path)" }
        return processes + loops + mounts
    }

    /// Reads links only: a look at the files themselves would ask their server, who may hang.
    private static func holds(_ pid: Int32, _ root: HostPath) -> Bool {
        let folder = HostPath("/proc/\(pid)")
        let descriptors = folder.appending("fd")
        let links =
            ["cwd", "root", "exe"].map { folder.appending($0) }
            + HostFiles.names(in: descriptors).map { descriptors.appending($0) }
        return links.contains { link in HostFiles.linkTarget(link).map { contains(root, $0) } ?? false }
    }
}
