import Abstractions
import CExt2fs

extension ExtFilesystem {
    private var makesExtents: Bool { fs.pointee.super.pointee.s_feature_incompat & 0x40 != 0 }

    /// Gives a new inode an empty map of the kind that the file system has.
    func beginMap(_ inode: inout ExtInode) {
        guard makesExtents else { return }
        inode.flags |= ExtInode.extents
        setExtents(&inode, [])
    }

    /// Allocates blocks for these parts of a new file, ranges of blocks in order.
    ///
    /// - Parameter inode: changed and not stored yet.
    /// - Returns: where the parts lie.
    func allocate(_ parts: [Range<UInt64>], _ number: UInt32, _ inode: inout ExtInode) throws -> [ExtRun] {
        let most: UInt64 = makesExtents ? 1 << 32 : mappedLimit
        guard (parts.last?.upperBound ?? 0) <= most else {
            throw BackendError(
                .unsupported, "disk.copyIn", "the file is larger than the file system on volume \(volume) takes",
                backend: "direct", blame: .disk)
        }
        var runs: [ExtRun] = []
        for part in parts {
            var logical = part.lowerBound
            while logical < part.upperBound {
                // 32,768 blocks are the most that one extent holds.
                let wanted = min(part.upperBound - logical, 32_768)
                let taken = try takeBlocks(wanted, near: number, inode)
                runs.append(ExtRun(logical: logical, physical: taken.lowerBound, count: UInt64(taken.count)))
                logical += UInt64(taken.count)
            }
        }
        if makesExtents {
            try mapByExtents(runs, number, &inode)
        } else {
            try mapByPointers(runs, number, &inode)
        }
        return runs
    }

    /// Takes blocks that lie side by side, as many of those wanted as there are in the next gap.
    private func takeBlocks(_ wanted: UInt64, near number: UInt32, _ inode: ExtInode) throws -> Range<UInt64> {
        var inode = inode
        let goal =
            nextBlock
            ?? inode.bytes.withUnsafeMutableBytes { buffer in
                ext2fs_find_inode_goal(fs, number, av_inode(buffer.baseAddress), 0)
            }
        var first: blk64_t = 0
        var count: blk64_t = 0
        try check(
            ext2fs_new_range(fs, 0, goal < blocksCount ? goal : 0, wanted, nil, &first, &count), "disk.copyIn",
            "no block is left on volume \(volume)")
        ext2fs_block_alloc_stats_range(fs, first, blk_t(count), 1)
        nextBlock = first + count
        return first..<first + count
    }

    // MARK: - Extents

    private func mapByExtents(_ runs: [ExtRun], _ number: UInt32, _ inode: inout ExtInode) throws {
        let blocks = runs.reduce(0) { $0 + $1.count }
        if runs.count <= 4 {
            setExtents(&inode, runs)
        } else {
            setExtents(&inode, [])
            try store(inode, number, "disk.copyIn")
            try insertExtents(runs, number)
            // The library has put the tree's root and the count of its blocks into the inode.
            inode = try self.inode(number, "disk.copyIn")
        }
        let code = inode.bytes.withUnsafeMutableBytes { ext2fs_iblk_add_blocks(fs, av_inode($0.baseAddress), blocks) }
        try check(code, "disk.copyIn", "cannot count the blocks of inode \(number)")
    }

    private func insertExtents(_ runs: [ExtRun], _ number: UInt32) throws {
        var handle: ext2_extent_handle_t?
        try check(ext2fs_extent_open(fs, number, &handle), "disk.copyIn", "cannot map inode \(number)")
        defer { ext2fs_extent_free(handle) }
        for run in runs {
            var extent = ext2fs_extent(
                e_pblk: run.physical, e_lblk: run.logical, e_len: UInt32(run.count), e_flags: 0)
            try check(
                ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &extent), "disk.copyIn",
                "cannot map inode \(number)")
        }
        try check(ext2fs_extent_fix_parents(handle), "disk.copyIn", "cannot map inode \(number)")
    }

    /// Puts up to four extents into the inode: a header (magic, count, room, depth) and 12 bytes for each.
    private func setExtents(_ inode: inout ExtInode, _ runs: [ExtRun]) {
        inode.setBlockPointer(0, 0xF30A | UInt32(runs.count) << 16)
        inode.setBlockPointer(1, 4)
        inode.setBlockPointer(2, 0)
        for (index, run) in runs.enumerated() {
            inode.setBlockPointer(3 + 3 * index, UInt32(truncatingIfNeeded: run.logical))
            inode.setBlockPointer(4 + 3 * index, UInt32(run.count) | UInt32(run.physical >> 32) << 16)
            inode.setBlockPointer(5 + 3 * index, UInt32(truncatingIfNeeded: run.physical))
        }
    }

    // MARK: - Block pointers (ext2, ext3)

    private var pointersPerBlock: UInt64 { UInt64(blockSize / 4) }

    private var mappedLimit: UInt64 {
        let count = pointersPerBlock
        return min(12 + count + count * count + count * count * count, UInt64(UInt32.max))
    }

    private func mapByPointers(_ runs: [ExtRun], _ number: UInt32, _ inode: inout ExtInode) throws {
        var places = ExtPlaces(runs)
        var blocks = runs.reduce(0) { $0 + $1.count }
        for index in 0..<12 { inode.setBlockPointer(index, places.physical(UInt64(index))) }
        var start: UInt64 = 12
        for depth in 1...3 {
            let span = (0..<depth).reduce(UInt64(1)) { count, _ in count * pointersPerBlock }
            let pointer = try pointerBlock(&places, start, depth, number, inode, &blocks)
            inode.setBlockPointer(11 + depth, pointer)
            start += span
        }
        let code = inode.bytes.withUnsafeMutableBytes { ext2fs_iblk_set(fs, av_inode($0.baseAddress), blocks) }
        try check(code, "disk.copyIn", "cannot count the blocks of inode \(number)")
    }

    /// Makes the indirect block for the file's blocks from `start`; 0 when none of them is mapped.
    private func pointerBlock(
        _ places: inout ExtPlaces, _ start: UInt64, _ depth: Int, _ number: UInt32, _ inode: ExtInode,
        _ blocks: inout UInt64
    ) throws -> UInt32 {
        let step = (1..<depth).reduce(UInt64(1)) { count, _ in count * pointersPerBlock }
        guard places.hasBlocks(in: start..<start + step * pointersPerBlock) else { return 0 }
        let own = try takeBlocks(1, near: number, inode).lowerBound
        blocks += 1
        var pointers = [UInt32](repeating: 0, count: Int(pointersPerBlock))
        for index in pointers.indices {
            let first = start + UInt64(index) * step
            let pointer =
                depth == 1
                ? places.physical(first) : try pointerBlock(&places, first, depth - 1, number, inode, &blocks)
            pointers[index] = pointer.littleEndian
        }
        try pointers.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            try channel.write(own, 1, base)
        }
        return UInt32(own)
    }
}

/// Finds a file's blocks in its runs, asked in ascending order.
private struct ExtPlaces {
    private let runs: [ExtRun]
    private var index = 0

    init(_ runs: [ExtRun]) { self.runs = runs }

    private mutating func advance(to logical: UInt64) {
        while index < runs.count, runs[index].logical + runs[index].count <= logical { index += 1 }
    }

    mutating func physical(_ logical: UInt64) -> UInt32 {
        advance(to: logical)
        guard index < runs.count, runs[index].logical <= logical else { return 0 }
        return UInt32(truncatingIfNeeded: runs[index].physical + logical - runs[index].logical)
    }

    mutating func hasBlocks(in range: Range<UInt64>) -> Bool {
        advance(to: range.lowerBound)
        return index < runs.count && runs[index].logical < range.upperBound
    }
}
