import Abstractions
import CExt2fs

extension ExtFilesystem {
    /// Writes every folder that has changed.
    func flushDirectories() throws {
        for folder in directories.values.filter(\.isDirty).sorted(by: { $0.number < $1.number }) { try flush(folder) }
    }

    /// Lays a folder out anew and writes it: in order of arrival while it is small, by hash with an index when it is not.
    func flush(_ folder: ExtDirectory) throws {
        guard folder.isDirty else { return }
        let operation = "disk.write"
        var blocks = linearBlocks(folder)
        var isIndexed = false
        if blocks.count > 2, fs.pointee.super.pointee.s_feature_compat & 0x20 != 0,
            let indexed = try ExtDirectoryIndex(self).blocks(of: folder)
        {
            blocks = indexed
            isIndexed = true
        }
        var inode = try inode(folder.number, operation)
        let present = inode.size / UInt64(blockSize)
        if present > UInt64(blocks.count) {
            try check(
                ext2fs_punch(fs, folder.number, nil, nil, UInt64(blocks.count), av_all_blocks), operation,
                "cannot shrink folder \(folder.number)")
        }
        var places: [UInt64] = []
        for logical in blocks.indices {
            var physical: blk64_t = 0
            try check(
                ext2fs_bmap2(fs, folder.number, nil, nil, BMAP_ALLOC, UInt64(logical), nil, &physical), operation,
                "cannot make room in folder \(folder.number)")
            places.append(physical)
        }
        inode = try self.inode(folder.number, operation)
        inode.size = UInt64(blocks.count * blockSize)
        inode.flags = isIndexed ? inode.flags | ExtInode.index : inode.flags & ~ExtInode.index
        changeLinks(&inode, by: folder.linkChange)
        try store(inode, folder.number, operation)
        for (physical, block) in zip(places, blocks) {
            var copy = block.bytes
            let code = copy.withUnsafeMutableBytes {
                ext2fs_write_dir_block4(fs, physical, $0.baseAddress, 0, folder.number)
            }
            try check(code, operation, "cannot write folder \(folder.number)")
        }
        folder.linkChange = 0
        folder.isDirty = false
    }

    /// A folder's links are its two names and the `..` of the folders in it; past 65,000 the number is 1, "many".
    private func changeLinks(_ inode: inout ExtInode, by change: Int) {
        guard change != 0, inode.links != 1 else { return }
        let links = Int(inode.links) + change
        guard links < 65_000 else {
            inode.links = 1
            fs.pointee.super.pointee.s_feature_ro_compat |= 0x20
            av_mark_super_dirty(fs)
            return
        }
        inode.links = UInt16(max(2, links))
    }

    /// `.` and `..` first, then the entries as they come.
    func linearBlocks(_ folder: ExtDirectory) -> [ExtDirectoryBlock] {
        var blocks = [ExtDirectoryBlock(size: blockSize, hasTail: hasChecksums)]
        let type = hasTypes ? ExtInode.entryType(.directory) : 0
        blocks[0].append([0x2e], inode: folder.number, type: type)
        blocks[0].append([0x2e, 0x2e], inode: folder.parent, type: type)
        for entry in folder.entries {
            if ExtDirectoryBlock.length(entry.name.count) > blocks[blocks.count - 1].room {
                blocks.append(ExtDirectoryBlock(size: blockSize, hasTail: hasChecksums))
            }
            blocks[blocks.count - 1].append(entry.name, inode: entry.inode, type: hasTypes ? entry.type : 0)
        }
        for index in blocks.indices { blocks[index].finish() }
        return blocks
    }

    // MARK: - Entries

    /// Makes an empty folder and its name; the folder's blocks are written later, with the rest of its content.
    func makeFolder(_ name: [UInt8], in parent: ExtDirectory, stat: FileStat, _ operation: String) throws
        -> ExtDirectory
    {
        let number = try takeInode(near: parent.number, isDirectory: true, operation)
        var inode = ExtInode(size: inodeSize)
        inode.begin(mode: ExtInode.typeBits(.directory) | UInt16(stat.mode & 0o7777), now: now)
        inode.uid = stat.uid
        inode.gid = stat.gid
        inode.links = 2
        inode.setModified(stat.modifiedNanoseconds)
        beginMap(&inode)
        try store(inode, number, operation)
        let folder = ExtDirectory(number: number, parent: parent.number, entries: [], isNew: true)
        directories[number] = folder
        parent.insert(.init(name: name, inode: number, type: ExtInode.entryType(.directory)))
        return folder
    }

    /// Gives an inode its second and later names' count.
    func addLink(_ number: UInt32, _ operation: String) throws {
        var inode = try inode(number, operation)
        guard inode.links < 65_000 else {
            throw BackendError(
                .noSpace, operation, "a file has 65,000 names already, ext takes no more", backend: "direct",
                blame: .disk)
        }
        inode.links += 1
        inode.setChanged(now)
        try store(inode, number, operation)
    }

    /// Takes a name away from something that is no folder; with its last name it is freed.
    func dropLink(_ number: UInt32, _ operation: String) throws {
        // The first inodes are the file system's own: its journal, for one.
        guard number >= firstInode else {
            throw ExtError.corrupt(operation, "a name stands for the reserved inode \(number)")
        }
        var inode = try inode(number, operation)
        if inode.links > 1 {
            inode.links -= 1
            inode.setChanged(now)
            try store(inode, number, operation)
        } else {
            try release(number, inode, operation)
        }
    }

    private var firstInode: UInt32 {
        let superblock = fs.pointee.super.pointee
        return superblock.s_rev_level == 0 ? 11 : superblock.s_first_ino
    }

    /// The content of a folder changed now.
    func touch(_ folder: ExtDirectory, _ operation: String) throws {
        var inode = try inode(folder.number, operation)
        inode.setModified(now)
        inode.setChanged(now)
        try store(inode, folder.number, operation)
    }

    /// The kind that an entry names; from its inode where the entry does not say.
    func kind(of entry: ExtDirectory.Entry, _ operation: String) throws -> FileKind {
        if entry.type == ExtInode.entryType(.directory) { return .directory }
        guard let kind = try inode(entry.inode, operation).kind else {
            throw ExtError.corrupt(operation, "inode \(entry.inode) is of no known type")
        }
        return kind
    }
}
