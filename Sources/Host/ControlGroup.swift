import Abstractions

/// What the kernel's control groups leave to this process, for example in a container.
///
/// Source: cgroups(7); Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
public enum ControlGroup {
    /// Bytes that this process and those it starts may still take: the least that its group and the groups above leave, the cache of
    /// files that can be dropped not counted as taken; nil when none has a limit.
    ///
    /// - Parameters:
    ///   - membership: which groups the process is in, as `/proc/self/cgroup` says it.
    ///   - mount: where the groups' file systems are mounted.
    public static func availableMemory(
        membership: HostPath = "/proc/self/cgroup", mount: HostPath = "/sys/fs/cgroup"
    ) -> Int64? {
        let lines = (try? HostFiles.readText(membership))?.split(separator: "\n") ?? []
        return lines.compactMap { line in
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { return nil }
            let path = fields[2].split(separator: "/").map(String.init)
            if fields[1].isEmpty { return available(path, in: mount, .second) }
            guard fields[1].split(separator: ",").contains("memory") else { return nil }
            return available(path, in: mount.appending("memory"), .first)
        }.min()
    }

    /// The names of the files and values in one version of the interface.
    private struct Names {
        var limit: String
        var usage: String
        var droppable: Substring

        static let first = Names(
            limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", droppable: "total_inactive_file")
        static let second = Names(limit: "memory.max", usage: "memory.current", droppable: "inactive_file")
    }

    /// The groups' names may be those of the host while only the container's own are mounted: a level that is not there is passed over.
    private static func available(_ path: [String], in root: HostPath, _ names: Names) -> Int64? {
        (0...path.count).compactMap { level in
            let group = path[..<level].reduce(root) { $0.appending($1) }
            func text(_ name: String) -> String? { try? HostFiles.readText(group.appending(name)) }
            func number(_ name: String) -> Int64? { text(name).flatMap { Int64($0.filter { !$0.isWhitespace }) } }
            // The word "max", or as many pages as there can be (PAGE_COUNTER_MAX), is no limit.
            guard let limit = number(names.limit), limit < 1 << 62, let usage = number(names.usage) else { return nil }
            let statistics = (text("memory.stat") ?? "").split(separator: "\n").map { $0.split(separator: " ") }
            let droppable = statistics.first { $0.first == names.droppable }?.last.flatMap { Int64($0) } ?? 0
            return max(0, limit - max(0, usage - droppable))
        }.min()
    }
}
