import Abstractions
import CExt2fs
import VirtualDisk

/// One ext2, ext3 or ext4 file system, open through libext2fs; used on one thread.
///
/// ```
///   directories (whole, in memory) --+
///   inodes, bitmaps, extent trees  --+--> ExtChannel --> transaction.write       (staged until commit)
///   file content ------------------------------------- > transaction.writeFresh  (blocks that were free at the last commit)
/// ```
final class ExtFilesystem {
    typealias FreshWrite = (_ offset: Int64, _ bytes: UnsafeRawBufferPointer) throws -> Void

    let volume: VolumeID
    let device: any BlockDevice
    /// Writes bytes that the image on the host does not use, past staging; nil when it is open for reading only.
    let writeFresh: FreshWrite?
    let channel: ExtChannel
    let fs: ext2_filsys
    let blockSize: Int
    let inodeSize: Int
    /// The block bitmap as the image on the host still has it; nil when read-only.
    private var committedBlocks: ext2fs_block_bitmap?
    var directories: [UInt32: ExtDirectory] = [:]
    /// File content on its way to the device.
    let data = ExtDataWriter()
    /// Whether the change under way has changed anything yet.
    var isTouched = false
    /// Why what is staged must not be committed.
    private var brokenBy: BackendError?
    /// Where the search for free blocks goes on; nil starts it at the file's own group.
    var nextBlock: UInt64?

    /// Opens the file system on a device that starts with it.
    ///
    /// - Throws: `corrupt`, `unsupported`, what the device says.
    init(_ device: any BlockDevice, volume: VolumeID, writeFresh: FreshWrite?) throws {
        self.volume = volume
        self.device = device
        self.writeFresh = writeFresh
        channel = ExtChannel(device)
        initialize_ext2_error_table()
        let isWritable = writeFresh != nil
        var handle: ext2_filsys?
        let flags = EXT2_FLAG_64BITS | EXT2_FLAG_MASTER_SB_ONLY | (isWritable ? EXT2_FLAG_RW : 0)
        let code = ext2fs_open2(ExtManager.name(of: channel), nil, flags, 0, 0, channel.manager, &handle)
        guard code == 0, let handle else {
            throw channel.takeFailure()
                ?? ExtError.error(code, "disk.open", "cannot open the file system on volume \(volume)")
        }
        fs = handle
        blockSize = Int(handle.pointee.blocksize)
        inodeSize = ExtFilesystem.inodeSize(handle)
        guard inodeSize >= ExtInode.goodOldSize, inodeSize <= blockSize else {
            ext2fs_free(handle)
            throw ExtError.corrupt("disk.open", "an inode on volume \(volume) is \(inodeSize) bytes long")
        }
        guard isWritable else { return }
        do {
            let code = ExtBitmaps(fs: fs, device: device).read()
            try check(code, "disk.open", "cannot read the bitmaps of volume \(volume)")
            try rememberBlocks()
        } catch {
            ext2fs_free(handle)
            throw error
        }
    }

    deinit {
        if let committedBlocks { ext2fs_free_block_bitmap(committedBlocks) }
        // Frees without writing: what was not flushed and committed has not happened.
        ext2fs_free(fs)
    }

    private static func inodeSize(_ fs: ext2_filsys) -> Int {
        let superblock = fs.pointee.super.pointee
        return superblock.s_rev_level == 0 ? ExtInode.goodOldSize : Int(superblock.s_inode_size)
    }

    /// - Throws: the device's error when there was one, else the library's.
    func check(_ code: errcode_t, _ operation: String, _ what: @autoclosure () -> String) throws {
        guard code != 0 else { return }
        throw channel.takeFailure() ?? ExtError.error(code, operation, what())
    }

    // MARK: - Commit

    /// Hands everything to the transaction; nothing is durable before the transaction's commit.
    func flush() throws {
        try checkWhole("disk.commit")
        try flushDirectories()
        try check(ext2fs_flush(fs), "disk.commit", "cannot write the metadata of volume \(volume)")
        try channel.flush()
    }

    /// After the transaction's commit: the blocks in use now are those of the image on the host.
    func rememberBlocks() throws {
        var copy: ext2fs_block_bitmap?
        try check(
            ext2fs_copy_bitmap(fs.pointee.block_map, &copy), "disk.open", "cannot copy the bitmap of volume \(volume)")
        if let committedBlocks { ext2fs_free_block_bitmap(committedBlocks) }
        committedBlocks = copy
    }

    /// Whether the image on the host uses none of these blocks, so that they may be written without staging.
    func isFresh(_ block: UInt64, _ count: UInt64) -> Bool {
        guard let committedBlocks else { return false }
        return ext2fs_test_block_bitmap_range2(committedBlocks, block, blk_t(count)) != 0
    }

    /// Runs a change. When it fails after its first step, nothing of the session can be committed any more.
    ///
    /// - Throws: what `body` throws; `invalidState` after an earlier failure.
    func changing<Value>(_ body: () throws -> Value) throws -> Value {
        try checkWhole("disk.write")
        isTouched = false
        do {
            let value = try body()
            try data.flush(self)
            if directories.count >= 1024 {
                try flushDirectories()
                dropCleanDirectories()
            }
            return value
        } catch {
            data.drop()
            if isTouched { brokenBy = BackendError.wrapping(error, "disk.write") }
            throw error
        }
    }

    /// - Throws: `invalidState` when a change failed half-way.
    func checkWhole(_ operation: String) throws {
        guard let brokenBy else { return }
        throw BackendError(
            .invalidState, operation,
            "an earlier change to volume \(volume) failed half-way; close the session, nothing of it has happened",
            backend: "direct", causes: [brokenBy])
    }

    // MARK: - Inodes

    /// The time in nanoseconds since 1970.
    var now: Int64 { av_now() }

    /// Reads an inode; a number that a damaged directory holds may be anything.
    func inode(_ number: UInt32, _ operation: String) throws -> ExtInode {
        var inode = ExtInode(size: inodeSize)
        let code = inode.bytes.withUnsafeMutableBytes { buffer in
            ext2fs_read_inode_full(fs, number, av_inode(buffer.baseAddress), Int32(buffer.count))
        }
        try check(code, operation, "cannot read inode \(number)")
        return inode
    }

    /// Writes an inode.
    func store(_ inode: ExtInode, _ number: UInt32, _ operation: String) throws {
        isTouched = true
        var copy = inode
        let code = copy.bytes.withUnsafeMutableBytes { buffer in
            ext2fs_write_inode_full(fs, number, av_inode(buffer.baseAddress), Int32(buffer.count))
        }
        try check(code, operation, "cannot write inode \(number)")
    }

    /// Takes an unused inode number near a folder.
    func takeInode(near folder: UInt32, isDirectory: Bool, _ operation: String) throws -> UInt32 {
        isTouched = true
        var number: ext2_ino_t = 0
        try check(
            ext2fs_new_inode(fs, folder, isDirectory ? 0o040755 : 0o100644, nil, &number), operation,
            "no inode is left on volume \(volume)")
        ext2fs_inode_alloc_stats2(fs, number, 1, isDirectory ? 1 : 0)
        return number
    }

    /// Frees an inode that has no name any more, and its blocks.
    func release(_ number: UInt32, _ inode: ExtInode, _ operation: String) throws {
        var inode = inode
        let isDirectory = inode.kind == .directory
        directories[number] = nil
        if inode.attributeBlock != 0 {
            let code = inode.bytes.withUnsafeMutableBytes { buffer in
                ext2fs_free_ext_attr(fs, number, av_inode_large(buffer.baseAddress))
            }
            try check(code, operation, "cannot free the attributes of inode \(number)")
        }
        inode.end(now: now)
        try store(inode, number, operation)
        let code = inode.bytes.withUnsafeMutableBytes { buffer -> errcode_t in
            guard ext2fs_inode_has_valid_blocks2(fs, av_inode(buffer.baseAddress)) != 0 else { return 0 }
            return ext2fs_punch(fs, number, av_inode(buffer.baseAddress), nil, 0, av_all_blocks)
        }
        try check(code, operation, "cannot free the blocks of inode \(number)")
        ext2fs_inode_alloc_stats2(fs, number, -1, isDirectory ? 1 : 0)
    }
}
