import Abstractions
import BackendSupport
import CExt2fs
import Host

/// What a host tree needs at least, so that one which cannot fit is refused before anything has changed.
struct ExtSpaceEstimate: HostTreeVisitor {
    private let blockSize: Int64
    private let cancellation: CancellationFlag
    private(set) var bytes: Int64 = 0
    private var blocks: Int64 = 0
    private var inodes: Int64 = 0
    private var seen: Set<FileIdentity> = []

    init(blockSize: Int64, cancellation: CancellationFlag) {
        self.blockSize = blockSize
        self.cancellation = cancellation
    }

    mutating func enter(_ folder: HostEntry) throws -> Bool {
        try cancellation.check()
        inodes += 1
        blocks += 1
        return true
    }

    mutating func leave(_ folder: HostEntry) throws {}

    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws {
        guard entry.stat.kind == .file || entry.stat.kind == .symlink else { return }
        // Names of one file share it.
        if entry.stat.links > 1 && !seen.insert(entry.identity).inserted { return }
        inodes += 1
        guard entry.stat.kind == .file else { return }
        bytes += entry.stat.size.bytes
        blocks += (min(entry.stat.size.bytes, entry.allocatedBytes) + blockSize - 1) / blockSize
    }

    /// - Throws: `noSpace` when the file system has less room than that.
    func check(against filesystem: ExtFilesystem) throws {
        let superblock = filesystem.fs.pointee.super
        let freeBlocks = Int64(ext2fs_free_blocks_count(superblock))
        let freeInodes = Int64(superblock?.pointee.s_free_inodes_count ?? 0)
        guard blocks <= freeBlocks, inodes <= freeInodes else {
            let what =
                blocks > freeBlocks
                ? "\(ByteCount(blocks * blockSize)) do not fit into \(ByteCount(freeBlocks * blockSize)) free"
                : "\(inodes) files and folders do not fit into \(freeInodes) free inodes"
            throw BackendError(
                .noSpace, "disk.copyIn", "\(what) on volume \(filesystem.volume), use a larger disk", backend: "direct",
                blame: .disk)
        }
    }
}
