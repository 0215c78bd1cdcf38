import Abstractions
import BackendSupport
import CGuestfs
import Host

extension ApplianceTree {
    func copyOut(
        _ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink,
        _ cancellation: CancellationFlag
    ) throws -> CopyReport {
        let top = try entry(path)
        let total = top.stat.kind == .file ? top.stat.size.bytes : nil
        return try SafeTreeWriter.copy(
            to: host, policy: policy, progress: progress, totalBytes: total, cancellation: cancellation
        ) { writer in
            guard top.stat.kind == .directory else { return try add(top, path, writer) }
            guard try writer.enterDirectory(top.name, top.stat) else { return }
            // Folders under way, each with what is left of it; recursion would end with the stack on a deep tree.
            var folders = [(path: path, rest: Array(try children(of: path).reversed()))]
            while let folder = folders.last {
                guard let next = folders[folders.count - 1].rest.popLast() else {
                    try writer.leaveDirectory()
                    folders.removeLast()
                    continue
                }
                let below = folder.path.appending(next.name)
                guard next.stat.kind == .directory else {
                    try add(next, below, writer)
                    continue
                }
                if below.rawValue.utf8.count >= 4096 {
                    writer.refuse(next.name, "a path too long for the appliance")
                } else if try writer.enterDirectory(next.name, next.stat) {
                    folders.append((below, Array(try children(of: below).reversed())))
                }
            }
        }
    }

    private func children(of path: GuestPath) throws -> [HostEntry] { try entries(try names(in: path), in: path) }

    private func add(_ entry: HostEntry, _ path: GuestPath, _ writer: SafeTreeWriter) throws {
        try writer.add(entry.name, entry.stat, identity: entry.identity) { sink in
            // Nothing but a hole; a smaller file may lie in its inode.
            if entry.allocatedBytes == 0, sink.size > 65536 { return }
            // A message of the appliance takes at most 4 MiB.
            let piece = 2 << 20
            var offset: Int64 = 0
            while offset < sink.size {
                let count = Int(min(Int64(piece), sink.size - offset))
                let got = try withContent(path, offset: offset, count: count) { bytes in
                    try ApplianceTree.write(bytes, at: offset, to: sink)
                    return bytes.count
                }
                guard got > 0 else { return }
                offset += Int64(got)
            }
        }
    }

    /// The appliance does not tell where holes are: blocks of zeros are left out, so they stay holes.
    private static func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64, to sink: FileSink) throws {
        var start = 0
        var end = 0
        func flush() throws {
            guard start < end else { return }
            try sink.write(at: offset + Int64(start), UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
        }
        while end < bytes.count {
            let next = min(bytes.count, end + 4096)
            if UnsafeRawBufferPointer(rebasing: bytes[end..<next]).allSatisfy({ $0 == 0 }) {
                try flush()
                start = next
            }
            end = next
        }
        try flush()
    }

    func copyIn(
        _ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink,
        _ cancellation: CancellationFlag
    ) throws -> CopyReport {
        let reader = try HostTreeReader(host)
        guard try entry(path.parent).stat.kind != .file else {
            throw BackendError(.invalidArgument, "copyIn", "\(path.parent) is not a folder")
        }
        try refuseConflicts(reader, path)
        let transfer = TarTransfer(
            reader: reader, topName: path == .root ? "." : path.name, options: options, progress: progress,
            cancellation: cancellation, activity: guest.activity)
        return try transfer.run { archive in
            try withPath(path.parent) { folder in
                try guest.check(
                    av_guestfs_tar_in(guest.pointer, archive, folder), "copyIn", "cannot copy \(host) to \(path)")
            }
        } interrupt: {
            guest.cancel()
        }
    }

    /// A file and a folder must not replace each other; tar in the appliance would let them.
    private func refuseConflicts(_ reader: HostTreeReader, _ path: GuestPath) throws {
        guard let old = try existing(path) else { return }
        let (isFolder, wasFolder) = (reader.top.stat.kind == .directory, old.stat.kind == .directory)
        guard isFolder == wasFolder else {
            let what =
                isFolder ? "folder \(path.name) cannot replace a file" : "file \(path.name) cannot replace a folder"
            throw BackendError(.invalidArgument, "copyIn", what)
        }
        guard isFolder else { return }
        var search = ConflictSearch(tree: self, top: path)
        try reader.walk(&search)
    }
}

/// Walks the host's tree where it meets a tree of the guest.
private struct ConflictSearch: HostTreeVisitor {
    let tree: ApplianceTree
    let top: GuestPath
    private var folders: [(path: GuestPath, entries: [String: FileKind])] = []

    init(tree: ApplianceTree, top: GuestPath) {
        self.tree = tree
        self.top = top
    }

    mutating func enter(_ folder: HostEntry) throws -> Bool {
        let path = folders.last.map { $0.path.appending(folder.name) } ?? top
        if let known = folders.last {
            // What the guest does not have meets nothing.
            guard let kind = known.entries[folder.name] else { return false }
            guard kind == .directory else {
                throw BackendError(.invalidArgument, "copyIn", "folder \(folder.name) cannot replace a file")
            }
        }
        let entries = try tree.entries(try tree.names(in: path), in: path)
        folders.append((path, Dictionary(entries.map { ($0.name, $0.stat.kind) }) { first, _ in first }))
        return true
    }

    mutating func leave(_ folder: HostEntry) throws { folders.removeLast() }

    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws {
        if folders.last?.entries[entry.name] == .directory {
            throw BackendError(.invalidArgument, "copyIn", "file \(entry.name) cannot replace a folder")
        }
    }
}
