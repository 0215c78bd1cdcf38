import CExt2fs
import VirtualDisk

/// How the bitmaps of a file system are best held in memory.
///
/// An array takes an eighth of a byte for each block and inode, 40 MiB for 1 TiB, twice while the committed state is kept; a tree
/// takes `nodeSize` for each run of used ones, which is next to nothing on a large disk with little on it, and 50 times the array
/// on a hostile one. So the runs are counted first.
struct ExtBitmaps {
    /// Bytes of a node of the library's tree with the allocator's own.
    static let nodeSize = 48
    /// Below this many bytes in an array nothing is worth a count.
    static let smallArray = 4 << 20

    let fs: ext2_filsys
    /// Where the file system lies: what is only counted need not go through the library's cache.
    let device: any BlockDevice

    /// Reads both bitmaps.
    ///
    /// - Returns: the library's code, 0 for success.
    func read() -> errcode_t {
        fs.pointee.default_bitmap_type = __u16(isSparse ? EXT2FS_BMAP64_RBTREE : EXT2FS_BMAP64_BITARRAY)
        return ext2fs_read_bitmaps(fs)
    }

    /// Whether trees take less than arrays; false where that cannot be found out.
    private var isSparse: Bool {
        let inodes = fs.pointee.super.pointee.s_inodes_count
        let array = Int(clamping: ext2fs_blocks_count(fs.pointee.super) / 8) + Int(inodes / 8)
        guard array >= Self.smallArray else { return false }
        let size = Int64(fs.pointee.blocksize)
        var block = [UInt64](repeating: 0, count: Int(size) / 8)
        var runs = 0
        for group in 0..<fs.pointee.group_desc_count {
            for place in [ext2fs_block_bitmap_loc(fs, group), ext2fs_inode_bitmap_loc(fs, group)] {
                let (offset, isTooFar) = Int64(clamping: place).multipliedReportingOverflow(by: size)
                guard !isTooFar,
                    (try? block.withUnsafeMutableBytes { try device.read(at: offset, into: $0) }) != nil
                else { return false }
                runs += Self.runs(of: block)
                guard runs * Self.nodeSize < array else { return false }
            }
        }
        return true
    }

    /// Runs of set bits, the lowest bit first.
    static func runs(of words: [UInt64]) -> Int {
        var last: UInt64 = 0
        var begins = 0
        for word in words {
            begins += (word & ~(word << 1 | last)).nonzeroBitCount
            last = word >> 63
        }
        return begins
    }
}
