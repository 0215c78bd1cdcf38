import Abstractions
import BackendSupport
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Copies a file or tree of a `MemoryTree` to the host.
struct MemoryCopyOut {
    let tree: MemoryTree
    let fault: MemoryFault?
    let flag: CancellationFlag

    func run(
        _ top: Int, name: String, to host: HostPath, policy: CopyPolicy, progress: ProgressSink
    ) throws -> CopyReport {
        if fault == .copyOutOverwrites { try? HostFiles.removeTree(host) }
        if fault == .copyOutLeavesPart, HostFiles.isDirectory(host.parent), !HostFiles.exists(host) {
            try HostFiles.write(Array("part".utf8), to: HostPath(host.string + ".part"))
        }
        let total = totalBytes(top)
        let sink =
            fault == .progressGoesBack
            ? ProgressSink { step in
                progress.report(step)
                progress.report(TransferProgress(bytes: -1, files: -1))
            } : progress
        var limits = policy
        if fault == .quotaIgnored, policy != .faithful {
            limits = .untrusted(CopyLimits(bytes: .gib(1 << 20), files: .max, depth: .max))
        }
        let report = try SafeTreeWriter.copy(
            to: host, policy: limits, progress: sink, totalBytes: total, cancellation: flag
        ) { writer in
            try copy(top, name, to: writer)
        }
        try spoil(host, policy)
        if fault == .copyOutLeavesPart { unlink(host.string + ".part") }
        return report
    }

    private func totalBytes(_ top: Int) -> Int64 {
        var total: Int64 = 0
        var pending = [top]
        while let next = pending.popLast() {
            let node = tree[next]
            if node.stat.kind == .file { total &+= node.content.size }
            pending.append(contentsOf: node.entries.values)
        }
        return total
    }

    /// Walks with a stack of its own: a tree in an image may be deeper than a thread's stack.
    private func copy(_ top: Int, _ name: String, to writer: SafeTreeWriter) throws {
        guard tree[top].stat.kind == .directory else { return try add(top, name, to: writer) }
        guard try writer.enterDirectory(name, tree[top].fullStat) else { return }
        var folders = [children(top)]
        while !folders.isEmpty {
            guard let (name, number) = folders[folders.count - 1].popLast() else {
                try writer.leaveDirectory()
                folders.removeLast()
                continue
            }
            let text = GuestPath.name(of: name)
            if tree[number].stat.kind == .directory {
                if try writer.enterDirectory(text, tree[number].fullStat) { folders.append(children(number)) }
            } else {
                try add(number, text, to: writer)
            }
        }
    }

    private func children(_ folder: Int) -> [([UInt8], Int)] {
        tree[folder].entries.sorted { $1.key.lexicographicallyPrecedes($0.key) }.map { ($0.key, $0.value) }
    }

    private func add(_ number: Int, _ name: String, to writer: SafeTreeWriter) throws {
        let node = followed(number)
        let identity = fault == .hardLinksSplit ? nil : FileIdentity(inode: UInt64(number))
        try writer.add(name, node.fullStat, identity: identity) { sink in
            for extent in node.content.extents {
                try flag.check()
                try extent.bytes.withUnsafeBytes { try sink.write(at: extent.offset, $0) }
            }
        }
    }

    private func followed(_ number: Int) -> MemoryNode {
        guard fault == .copyOutFollowsLink, let target = tree[number].stat.target else { return tree[number] }
        var node = MemoryNode(.file, mode: 0o644)
        let bytes = (try? HostFiles.read(HostPath(target))) ?? Array(target.utf8)
        bytes.withUnsafeBytes { node.content.write(at: 0, $0) }
        return node
    }

    /// What the faults of an untrusted copy do to the result.
    private func spoil(_ host: HostPath, _ policy: CopyPolicy) throws {
        guard policy != .faithful else { return }
        if fault == .untrustedKeepsSetuid { chmod(host.string, 0o4755) }
        if fault == .untrustedKeepsLinks, HostFiles.isDirectory(host) {
            symlink("/etc/passwd", host.appending("link").string)
        }
    }
}
