import Abstractions
import BackendSupport
import Host

/// A file system of an open `memory` disk.
struct MemoryFilesystem: GuestFilesystem {
    let session: MemorySession
    let volume: VolumeID

    private var fault: MemoryFault? { session.fault }

    var writable: (any WritableFilesystem)? {
        session.mode == .readWrite || fault == .readOnlyIsWritable
            ? MemoryWritable(session: session, volume: volume) : nil
    }

    var mount: (any MountFacet)? { nil }

    func stat(_ path: GuestPath) async throws -> FileStat {
        let tree = try session.tree(volume, "filesystem.stat")
        let node = tree[try tree.find(path, "filesystem.stat")]
        if fault == .statFollowsLink, let target = node.stat.target {
            let above = target.hasPrefix("/") ? GuestPath(target) : GuestPath(path.parent.rawValue + "/" + target)
            return tree[try tree.find(above, "filesystem.stat")].fullStat
        }
        return node.fullStat
    }

    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage {
        let tree = try session.tree(volume, "filesystem.list")
        let folder = tree[try tree.find(path, "filesystem.list")]
        guard folder.stat.kind == .directory else {
            throw BackendError(.invalidArgument, "filesystem.list", "\(path) is not a folder")
        }
        var names = Array(folder.entries.keys)
        if let after {
            let start = GuestPath.bytes(of: after)
            names.removeAll { !start.lexicographicallyPrecedes($0) }
        }
        if fault == .listUnsorted {
            names.sort { $1.lexicographicallyPrecedes($0) }
        } else {
            names.sort { $0.lexicographicallyPrecedes($1) }
        }
        var page = Array(names.prefix(1_000))
        let next = names.count > page.count ? page.last.map { GuestPath.name(of: $0) } : nil
        if fault == .listDropsEntry, next != nil { page.removeLast() }
        let entries = page.compactMap { name in
            folder.entries[name].map { DirectoryEntry(name: text(name), stat: tree[$0].fullStat) }
        }
        return DirectoryPage(entries: entries, next: next)
    }

    private func text(_ name: [UInt8]) -> String {
        fault == .namesMangled ? String(decoding: name, as: UTF8.self) : GuestPath.name(of: name)
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        let tree = try session.tree(volume, "filesystem.read")
        let node = tree[try tree.find(path, "filesystem.read")]
        guard node.stat.kind == .file else {
            throw BackendError(.invalidArgument, "filesystem.read", "\(path) is not a regular file")
        }
        if fault == .negativeOffsetRead, offset < 0 || count < 0 { return [] }
        guard offset >= 0, count >= 0 else {
            throw BackendError(
                .invalidArgument, "filesystem.read", "offset \(offset) and count \(count) must not be negative")
        }
        if fault == .readPastEndThrows, offset >= node.content.size, count > 0 {
            throw BackendError(.invalidArgument, "filesystem.read", "offset \(offset) lies behind the end of \(path)")
        }
        return node.content.read(offset: offset, count: min(count, 512 << 10))
    }

    func copyOut(_ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink) async throws
        -> CopyReport
    {
        let tree = try session.tree(volume, "filesystem.copyOut")
        let top = try tree.find(path, "filesystem.copyOut")
        let fault = fault
        return try await onThread("filesystem.copyOut") { flag in
            let copy = MemoryCopyOut(tree: tree, fault: fault, flag: flag)
            return try copy.run(top, name: path.name, to: host, policy: policy, progress: progress)
        }
    }
}
