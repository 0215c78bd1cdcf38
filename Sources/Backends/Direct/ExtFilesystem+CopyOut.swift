import Abstractions
import BackendSupport

extension ExtFilesystem {
    /// Copies a file or tree to the host.
    func copyOut(
        _ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink,
        cancellation: CancellationFlag
    ) throws -> CopyReport {
        let number = try resolve(path, "disk.copyOut")
        let top = try stat(number, "disk.copyOut")
        return try SafeTreeWriter.copy(
            to: host, policy: policy, progress: progress, totalBytes: top.kind == .file ? top.size.bytes : nil,
            cancellation: cancellation
        ) { writer in
            guard top.kind == .directory else {
                return try writer.add(path.name, top) { try copyContent(number, $0) }
            }
            try copyTree(number, path, top, writer)
        }
    }

    private func copyTree(_ number: UInt32, _ path: GuestPath, _ top: FileStat, _ writer: SafeTreeWriter) throws {
        guard try writer.enterDirectory(path.name, top) else { return }
        // A folder that a damaged file system names twice could hold itself.
        var seen: Set<UInt32> = [number]
        var pending = [try sortedEntries(number)]
        while !pending.isEmpty {
            guard let entry = pending[pending.count - 1].popLast() else {
                pending.removeLast()
                try writer.leaveDirectory()
                continue
            }
            let name = GuestPath.name(of: entry.name)
            let stat = try stat(entry.inode, "disk.copyOut")
            if stat.kind == .directory {
                guard seen.insert(entry.inode).inserted else {
                    writer.refuse(name, "a folder that has two names")
                    continue
                }
                guard try writer.enterDirectory(name, stat) else { continue }
                pending.append(try sortedEntries(entry.inode))
            } else {
                let identity = stat.links > 1 ? FileIdentity(inode: UInt64(entry.inode)) : nil
                try writer.add(name, stat, identity: identity) { try copyContent(entry.inode, $0) }
            }
        }
    }

    /// Writes what a file has, in pieces of at most 1 MiB; holes stay holes.
    private func copyContent(_ number: UInt32, _ sink: FileSink) throws {
        let inode = try inode(number, "disk.copyOut")
        guard inode.flags & ExtInode.encrypted == 0 else { try sink.refuse("encrypted") }
        let size = UInt64(max(0, sink.size))
        if inode.flags & ExtInode.inlineData != 0 {
            let bytes = try content(number, inode, at: 0, count: Int(size))
            return try bytes.withUnsafeBytes { try sink.write(at: 0, $0) }
        }
        let block = UInt64(blockSize)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1 << 20, blockSize), alignment: 4096)
        defer { buffer.deallocate() }
        try runs(of: number, inode, in: 0..<(size + block - 1) / block) { run in
            var position = run.logical * block
            let end = min(position + run.count * block, size)
            var source = run.physical * block
            while position < end {
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<Int(min(UInt64(buffer.count), end - position))])
                try readData(at: source, into: part)
                try sink.write(at: Int64(position), UnsafeRawBufferPointer(part))
                position += UInt64(part.count)
                source += UInt64(part.count)
            }
        }
    }

    private func sortedEntries(_ number: UInt32) throws -> [ExtDirectory.Entry] {
        try directory(number, "disk.copyOut", "inode \(number)").entries.sorted {
            $1.name.lexicographicallyPrecedes($0.name)
        }
    }
}
