import Abstractions
import CExt2fs

/// Lays a big folder out as ext4's hash tree, so that the guest finds a name in it without reading it all.
///
/// ```
///   block 0          . | .. | info | count, limit | (hash, block) …     root
///   blocks 1 … n     entries in the order of their names' hashes        leaves
///   blocks after n   empty entry | count, limit | (hash, block) …       a level between, when the root is too small
/// ```
/// Source: `e2fsck/rehash.c` of e2fsprogs and the kernel's `Documentation/filesystems/ext4/directory.rst`.
struct ExtDirectoryIndex {
    private struct Hashed {
        var hash: UInt32
        var minor: UInt32
        var entry: ExtDirectory.Entry
    }

    private let filesystem: ExtFilesystem
    private let size: Int
    private let tail: Int

    init(_ filesystem: ExtFilesystem) {
        self.filesystem = filesystem
        size = filesystem.blockSize
        // A checksum at the end of root and nodes: 4 bytes reserved, 4 of checksum.
        tail = filesystem.hasChecksums ? 8 : 0
    }

    /// The folder's blocks; nil when it has to stay without an index.
    func blocks(of folder: ExtDirectory) throws -> [ExtDirectoryBlock]? {
        let superblock = filesystem.fs.pointee.super.pointee
        let version = superblock.s_def_hash_version
        guard version <= 2 else { return nil }
        // The superblock says whether this file system was made where `char` has no sign (flag 2).
        let algorithm = Int32(version) + (superblock.s_flags & 2 != 0 ? 3 : 0)
        guard let (leaves, hashes) = try leaves(of: folder, algorithm) else { return nil }
        let rootLimit = (size - 32 - tail) / 8
        let nodeLimit = (size - 8 - tail) / 8
        let nodes = leaves.count <= rootLimit ? 0 : (leaves.count + nodeLimit - 1) / nodeLimit
        guard nodes <= rootLimit else { return nil }
        let pointers = hashes.enumerated().map { (hash: $0.element, block: UInt32($0.offset + 1)) }
        guard nodes > 0 else { return [root(folder, version, levels: 0, pointers, limit: rootLimit)] + leaves }
        var tops: [(hash: UInt32, block: UInt32)] = []
        var middle: [ExtDirectoryBlock] = []
        for start in stride(from: 0, to: pointers.count, by: nodeLimit) {
            let part = Array(pointers[start..<min(start + nodeLimit, pointers.count)])
            tops.append((part[0].hash, UInt32(1 + leaves.count + middle.count)))
            middle.append(node(part, limit: nodeLimit))
        }
        return [root(folder, version, levels: 1, tops, limit: rootLimit)] + leaves + middle
    }

    private func leaves(of folder: ExtDirectory, _ algorithm: Int32) throws -> ([ExtDirectoryBlock], [UInt32])? {
        var hashed: [Hashed] = []
        hashed.reserveCapacity(folder.entries.count)
        for entry in folder.entries {
            guard let (hash, minor) = hash(entry.name, algorithm) else { return nil }
            hashed.append(Hashed(hash: hash, minor: minor, entry: entry))
        }
        hashed.sort { ($0.hash, $0.minor) < ($1.hash, $1.minor) }
        // A fifth of each leaf stays free, so that the guest's next names do not split every one.
        let slack = size / 5
        var blocks: [ExtDirectoryBlock] = []
        var hashes: [UInt32] = []
        var previous: UInt32 = 1
        for item in hashed {
            let length = ExtDirectoryBlock.length(item.entry.name.count)
            if blocks.isEmpty || blocks[blocks.count - 1].room < max(length, slack) {
                blocks.append(ExtDirectoryBlock(size: size, hasTail: filesystem.hasChecksums))
                // The lowest bit says that names of this hash stand in the block before as well.
                hashes.append(item.hash == previous ? item.hash | 1 : item.hash)
            }
            blocks[blocks.count - 1].append(
                item.entry.name, inode: item.entry.inode, type: filesystem.hasTypes ? item.entry.type : 0)
            previous = item.hash
        }
        for index in blocks.indices { blocks[index].finish() }
        return (blocks, hashes)
    }

    private func hash(_ name: [UInt8], _ algorithm: Int32) -> (UInt32, UInt32)? {
        var hash: ext2_dirhash_t = 0
        var minor: ext2_dirhash_t = 0
        let code = name.withUnsafeBytes { bytes in
            withUnsafePointer(to: &filesystem.fs.pointee.super.pointee.s_hash_seed) { seed in
                seed.withMemoryRebound(to: UInt32.self, capacity: 4) { seed in
                    ext2fs_dirhash(
                        algorithm, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count), seed,
                        &hash, &minor)
                }
            }
        }
        return code == 0 ? (hash, minor) : nil
    }

    private func root(
        _ folder: ExtDirectory, _ version: UInt8, levels: UInt8, _ pointers: [(hash: UInt32, block: UInt32)], limit: Int
    ) -> ExtDirectoryBlock {
        var block = ExtDirectoryBlock(size: size, hasTail: false)
        let type = filesystem.hasTypes ? ExtInode.entryType(.directory) : 0
        block.append([0x2e], inode: folder.number, type: type)
        block.append([0x2e, 0x2e], inode: folder.parent, type: type)
        block.finish()
        // Behind the two names: reserved u32, hash version, length of this, levels, flags.
        block.put([0, 0, 0, 0, version, 8, levels, 0], at: 24)
        put(pointers, limit: limit, into: &block, at: 32)
        return block
    }

    private func node(_ pointers: [(hash: UInt32, block: UInt32)], limit: Int) -> ExtDirectoryBlock {
        var block = ExtDirectoryBlock(size: size, hasTail: false)
        block.finish()
        put(pointers, limit: limit, into: &block, at: 8)
        return block
    }

    /// The first pointer's hash is not stored: limit and count stand in its place.
    private func put(
        _ pointers: [(hash: UInt32, block: UInt32)], limit: Int, into block: inout ExtDirectoryBlock, at offset: Int
    ) {
        for (index, pointer) in pointers.enumerated() {
            let first = UInt32(limit) | UInt32(pointers.count) << 16
            block.put(littleEndian(index == 0 ? first : pointer.hash), at: offset + 8 * index)
            block.put(littleEndian(pointer.block), at: offset + 8 * index + 4)
        }
    }

    private func littleEndian(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
    }
}
