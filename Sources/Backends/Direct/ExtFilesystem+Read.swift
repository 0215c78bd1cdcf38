import Abstractions
import CExt2fs
import VirtualDisk

extension ExtFilesystem {
    /// What is known about an inode as `stat` tells it.
    func stat(_ number: UInt32, _ operation: String) throws -> FileStat {
        if let folder = directories[number], folder.isDirty { try flush(folder) }
        let inode = try inode(number, operation)
        guard let kind = inode.kind else {
            throw ExtError.corrupt(operation, "inode \(number) is of no known type")
        }
        return FileStat(
            kind: kind, size: ByteCount(Int64(truncatingIfNeeded: min(inode.size, UInt64(Int64.max)))),
            mode: UInt32(inode.mode & 0o7777), uid: inode.uid, gid: inode.gid, modifiedNanoseconds: inode.modified,
            links: Int(inode.links),
            target: kind == .symlink ? GuestPath.name(of: try linkText(number, inode)) : nil)
    }

    /// The text of a symbolic link.
    func linkText(_ number: UInt32, _ inode: ExtInode) throws -> [UInt8] {
        let length = Int(min(inode.size, UInt64(blockSize)))
        if length < ExtInode.fastLinkLimit, inode.flags & (ExtInode.extents | ExtInode.inlineData) == 0 {
            return Array(inode.blockArea.prefix(length))
        }
        if inode.flags & ExtInode.inlineData != 0 { return try content(number, inode, at: 0, count: length) }
        // Through the cache: a new link's block is metadata and may still be there alone.
        var block = [UInt8](repeating: 0, count: blockSize)
        try runs(of: number, inode, in: 0..<1) { run in
            try block.withUnsafeMutableBytes { bytes in
                if let base = bytes.baseAddress { try channel.read(run.physical, 1, base) }
            }
        }
        return Array(block.prefix(length))
    }

    /// Bytes of a file, fewer at its end.
    func content(_ number: UInt32, _ inode: ExtInode, at offset: UInt64, count: Int) throws -> [UInt8] {
        guard offset < inode.size else { return [] }
        let length = Int(min(UInt64(count), inode.size - offset))
        if inode.flags & ExtInode.inlineData != 0 { return try inlineContent(number, at: offset, count: length) }
        var bytes = [UInt8](repeating: 0, count: length)
        let size = UInt64(blockSize)
        let blocks = offset / size..<(offset + UInt64(length) + size - 1) / size
        try bytes.withUnsafeMutableBytes { buffer in
            try runs(of: number, inode, in: blocks) { run in
                let runStart = run.logical * size
                let start = max(runStart, offset)
                let end = min(runStart + run.count * size, offset + UInt64(length))
                guard start < end else { return }
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[Int(start - offset)..<Int(end - offset)])
                try readData(at: run.physical * size + start - runStart, into: part)
            }
        }
        return bytes
    }

    /// Reads file content from the device, zeros past its end.
    func readData(at position: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let left = max(0, device.size - Int64(position))
        let there = Int(min(Int64(buffer.count), left))
        try device.read(at: Int64(position), into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<there]))
        if there < buffer.count {
            UnsafeMutableRawBufferPointer(rebasing: buffer[there...]).initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    /// A small file that stands in its inode.
    private func inlineContent(_ number: UInt32, at offset: UInt64, count: Int) throws -> [UInt8] {
        var file: ext2_file_t?
        try check(ext2fs_file_open(fs, number, 0, &file), "disk.read", "cannot open inode \(number)")
        defer { ext2fs_file_close(file) }
        var bytes = [UInt8](repeating: 0, count: count)
        var got: UInt32 = 0
        try check(
            ext2fs_file_llseek(file, offset, EXT2_SEEK_SET, nil), "disk.read", "cannot read inode \(number)")
        let code = bytes.withUnsafeMutableBytes {
            ext2fs_file_read(file, $0.baseAddress, UInt32($0.count), &got)
        }
        try check(code, "disk.read", "cannot read inode \(number)")
        return Array(bytes.prefix(Int(got)))
    }

    // MARK: - Folders

    var hasTypes: Bool { fs.pointee.super.pointee.s_feature_incompat & 0x2 != 0 }
    var hasChecksums: Bool { fs.pointee.super.pointee.s_feature_ro_compat & 0x400 != 0 }

    /// A folder's content, read once and kept.
    ///
    /// - Throws: `invalidArgument` when it is not a folder, `corrupt`.
    func directory(_ number: UInt32, _ operation: String, _ path: @autoclosure () -> String) throws -> ExtDirectory {
        if let folder = directories[number] { return folder }
        let inode = try inode(number, operation)
        guard inode.kind == .directory else {
            throw BackendError(.invalidArgument, operation, "\(path()) is not a folder", backend: "direct")
        }
        guard inode.flags & ExtInode.encrypted == 0 else {
            throw BackendError(.unsupported, operation, "\(path()) is encrypted", backend: "direct", blame: .disk)
        }
        if directories.count >= 4096 { dropCleanDirectories() }
        let folder = try load(number, inode, operation)
        directories[number] = folder
        return folder
    }

    /// Frees the memory of folders that the disk has as they are.
    func dropCleanDirectories() {
        directories = directories.filter { $0.value.isDirty }
    }

    private func load(_ number: UInt32, _ inode: ExtInode, _ operation: String) throws -> ExtDirectory {
        var entries: [ExtDirectory.Entry] = []
        if inode.flags & ExtInode.inlineData != 0 {
            entries = try inlineEntries(number)
        } else {
            let blocks = inode.size / UInt64(blockSize)
            guard blocks <= blocksCount, inode.size % UInt64(blockSize) == 0 else {
                throw ExtError.corrupt(operation, "folder \(number) has a size that cannot be")
            }
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 4096)
            defer { buffer.deallocate() }
            try runs(of: number, inode, in: 0..<blocks) { run in
                for step in 0..<run.count {
                    try check(
                        ext2fs_read_dir_block4(fs, run.physical + step, buffer.baseAddress, 0, number), operation,
                        "cannot read folder \(number)")
                    guard
                        let found = ExtDirectoryBlock.parse(UnsafeRawBufferPointer(buffer), hasTypes: hasTypes)
                    else { throw ExtError.corrupt(operation, "a block of folder \(number) is damaged") }
                    entries.append(contentsOf: found)
                }
            }
        }
        let parent = entries.first { $0.name == [0x2e, 0x2e] }?.inode ?? number
        entries.removeAll { $0.name == [0x2e] || $0.name == [0x2e, 0x2e] }
        return ExtDirectory(number: number, parent: parent, entries: entries, isNew: false)
    }

    /// The entries of a folder that stands in its inode, as the library tells them.
    private func inlineEntries(_ number: UInt32) throws -> [ExtDirectory.Entry] {
        final class Collector { var entries: [ExtDirectory.Entry] = [] }
        let collector = Collector()
        let code = ext2fs_dir_iterate2(
            fs, number, 0, nil,
            { _, _, entry, _, _, _, context in
                guard let entry, let context else { return 0 }
                let name = UnsafeRawPointer(entry).advanced(by: 8)
                let length = Int(entry.pointee.name_len & 0xFF)
                Unmanaged<Collector>.fromOpaque(context).takeUnretainedValue().entries.append(
                    ExtDirectory.Entry(
                        name: Array(UnsafeRawBufferPointer(start: name, count: length)), inode: entry.pointee.inode,
                        type: UInt8(entry.pointee.name_len >> 8) & 7))
                return 0
            }, Unmanaged.passUnretained(collector).toOpaque())
        try check(code, "disk.list", "cannot read folder \(number)")
        return collector.entries
    }

    // MARK: - Paths

    static let root: UInt32 = 2

    /// The inode at a path; links on the way are followed inside the guest, one at its end is not.
    ///
    /// - Throws: `notFound`, `invalidArgument` for too many links.
    func resolve(_ path: GuestPath, _ operation: String) throws -> UInt32 {
        var pending = Array(path.components.map { GuestPath.bytes(of: $0) }.reversed())
        var chain = [ExtFilesystem.root]
        var followed = 0
        while let name = pending.popLast() {
            if name == [0x2e] { continue }
            if name == [0x2e, 0x2e] {
                if chain.count > 1 { chain.removeLast() }
                continue
            }
            let current = chain[chain.count - 1]
            guard try inode(current, operation).kind == .directory,
                let entry = try directory(current, operation, path.rawValue)[name]
            else { throw missing(path, operation) }
            if !pending.isEmpty {
                let inode = try inode(entry.inode, operation)
                if inode.kind == .symlink {
                    followed += 1
                    guard followed <= 40 else {
                        throw BackendError(
                            .invalidArgument, operation, "too many symbolic links on the way to \(path)",
                            backend: "direct")
                    }
                    let text = try linkText(entry.inode, inode)
                    if text.first == 0x2f { chain = [ExtFilesystem.root] }
                    pending.append(contentsOf: text.split(separator: 0x2f).map { Array($0) }.reversed())
                    continue
                }
            }
            chain.append(entry.inode)
        }
        return chain[chain.count - 1]
    }

    func missing(_ path: GuestPath, _ operation: String) -> BackendError {
        BackendError(
            .notFound, operation, "\(path) does not exist on volume \(volume)", backend: "direct", blame: .caller)
    }

    /// A page of a folder.
    func page(_ path: GuestPath, after: String?) throws -> DirectoryPage {
        let number = try resolve(path, "disk.list")
        let folder = try directory(number, "disk.list", path.rawValue)
        // Such a name could be mistaken for a path; a copy refuses it alone and goes on.
        guard !folder.entries.contains(where: { $0.name.isEmpty || $0.name.contains(0x2f) || $0.name.contains(0) })
        else { throw ExtError.corrupt("disk.list", "folder \(number) has a name that cannot be") }
        var names = folder.entries.map { ($0.name, $0.inode) }
        if let after {
            let bytes = GuestPath.bytes(of: after)
            names.removeAll { !bytes.lexicographicallyPrecedes($0.0) }
        }
        names.sort { $0.0.lexicographicallyPrecedes($1.0) }
        let entries = try names.prefix(1000).map { name, inode in
            DirectoryEntry(name: GuestPath.name(of: name), stat: try stat(inode, "disk.list"))
        }
        return DirectoryPage(entries: entries, next: names.count > 1000 ? entries.last?.name : nil)
    }

    /// Up to `count` bytes of a regular file.
    func read(_ path: GuestPath, offset: Int64, count: Int) throws -> [UInt8] {
        guard offset >= 0, count >= 0 else {
            throw BackendError(.invalidArgument, "disk.read", "a negative offset or count", backend: "direct")
        }
        let number = try resolve(path, "disk.read")
        let inode = try inode(number, "disk.read")
        guard inode.kind == .file else {
            throw BackendError(.invalidArgument, "disk.read", "\(path) is not a regular file", backend: "direct")
        }
        guard inode.flags & ExtInode.encrypted == 0 else {
            throw BackendError(.unsupported, "disk.read", "\(path) is encrypted", backend: "direct", blame: .disk)
        }
        return try content(number, inode, at: UInt64(offset), count: min(count, 512 << 10))
    }
}
