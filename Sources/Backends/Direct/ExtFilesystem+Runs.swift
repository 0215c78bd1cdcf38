import Abstractions
import CExt2fs

/// Blocks of a file that lie side by side on the volume.
struct ExtRun {
    /// The first one's place in the file, in blocks.
    var logical: UInt64
    /// The first one's place on the volume, in blocks.
    var physical: UInt64
    var count: UInt64
}

extension ExtFilesystem {
    var blocksCount: UInt64 { UInt64(ext2fs_blocks_count(fs.pointee.super)) }

    /// Hands out what is mapped and written of a file's blocks `range`, in order; what is left out reads as zero.
    ///
    /// - Throws: `corrupt` when the map is damaged, what `body` throws.
    func runs(
        of number: UInt32, _ inode: ExtInode, in range: Range<UInt64>, _ body: (ExtRun) throws -> Void
    ) throws {
        guard !range.isEmpty else { return }
        if inode.usesExtents {
            try extents(of: number, in: range, body)
        } else {
            try mappedBlocks(of: number, in: range, body)
        }
    }

    private func deliver(
        _ run: ExtRun, _ range: Range<UInt64>, _ number: UInt32, _ body: (ExtRun) throws -> Void
    ) throws {
        let first = UInt64(fs.pointee.super.pointee.s_first_data_block)
        guard run.physical >= first, run.physical < blocksCount, run.count <= blocksCount - run.physical else {
            throw ExtError.corrupt("disk.read", "inode \(number) has blocks outside the volume")
        }
        let start = max(run.logical, range.lowerBound)
        let end = min(run.logical + run.count, range.upperBound)
        guard start < end else { return }
        try body(ExtRun(logical: start, physical: run.physical + start - run.logical, count: end - start))
    }

    private func extents(of number: UInt32, in range: Range<UInt64>, _ body: (ExtRun) throws -> Void) throws {
        var next: UInt64 = 0
        try ExtExtentWalk.go(self, number, from: range.lowerBound) { extent in
            if extent.e_lblk >= range.upperBound { return false }
            // A tree that points to itself would go on for ever.
            guard extent.e_lblk >= next, extent.e_len > 0 else {
                throw ExtError.corrupt("disk.read", "inode \(number) has extents out of order")
            }
            next = extent.e_lblk + UInt64(extent.e_len)
            if extent.e_flags & UInt32(EXT2_EXTENT_FLAGS_UNINIT) != 0 { return true }
            let run = ExtRun(logical: extent.e_lblk, physical: extent.e_pblk, count: UInt64(extent.e_len))
            try deliver(run, range, number, body)
            return true
        }
    }

    /// Files of ext2 and ext3: each block's number stands in the inode or in an indirect block.
    private func mappedBlocks(of number: UInt32, in range: Range<UInt64>, _ body: (ExtRun) throws -> Void) throws {
        try withoutActuallyEscaping(body) { body in
            let joiner = ExtRunJoiner { run in try self.deliver(run, range, number, body) }
            if range.count <= 1024 {
                for logical in range {
                    var physical: blk64_t = 0
                    try check(
                        ext2fs_bmap2(fs, number, nil, nil, 0, logical, nil, &physical), "disk.read",
                        "cannot read the block map of inode \(number)")
                    if physical != 0 { try joiner.add(logical, physical) }
                }
            } else {
                try iterate(number, range, joiner)
            }
            try joiner.finish()
        }
    }

    /// Goes over the block map without touching the parts that are missing from it.
    private func iterate(_ number: UInt32, _ range: Range<UInt64>, _ joiner: ExtRunJoiner) throws {
        let context = ExtIteration(range, joiner)
        let code = ext2fs_block_iterate3(
            fs, number, BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, nil,
            { _, block, logical, _, _, context in
                guard let block, let context else { return BLOCK_ABORT }
                let iteration = Unmanaged<ExtIteration>.fromOpaque(context).takeUnretainedValue()
                return iteration.visit(UInt64(max(0, logical)), block.pointee) ? 0 : BLOCK_ABORT
            }, Unmanaged.passUnretained(context).toOpaque())
        if let failure = context.failure { throw failure }
        try check(code, "disk.read", "cannot read the block map of inode \(number)")
    }
}

/// What travels through the library's block iterator.
private final class ExtIteration {
    private let range: Range<UInt64>
    private let joiner: ExtRunJoiner
    private(set) var failure: (any Error)?

    init(_ range: Range<UInt64>, _ joiner: ExtRunJoiner) {
        self.range = range
        self.joiner = joiner
    }

    func visit(_ logical: UInt64, _ physical: UInt64) -> Bool {
        guard logical < range.upperBound else { return false }
        guard logical >= range.lowerBound, physical != 0 else { return true }
        do {
            try joiner.add(logical, physical)
            return true
        } catch {
            failure = error
            return false
        }
    }
}

/// Joins single blocks that follow each other into runs.
private final class ExtRunJoiner {
    private let body: (ExtRun) throws -> Void
    private var open: ExtRun?

    init(_ body: @escaping (ExtRun) throws -> Void) { self.body = body }

    func add(_ logical: UInt64, _ physical: UInt64) throws {
        if let run = open, run.logical + run.count == logical, run.physical + run.count == physical {
            open?.count += 1
        } else {
            try finish()
            open = ExtRun(logical: logical, physical: physical, count: 1)
        }
    }

    func finish() throws {
        guard let run = open else { return }
        open = nil
        try body(run)
    }
}
