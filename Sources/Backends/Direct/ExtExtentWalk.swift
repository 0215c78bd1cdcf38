import CExt2fs

/// Goes over the leaves of a file's extent tree.
///
/// By single steps, since the library's own "next" goes down again into a node that a search has led it to, once it has left it.
struct ExtExtentWalk {
    private let filesystem: ExtFilesystem
    private let number: UInt32
    private let handle: ext2_extent_handle_t?
    private var extent = ext2fs_extent()
    private var steps: UInt64 = 0

    /// Hands out the extents from the one that holds block `first`, or the last before it, until `body` says false.
    ///
    /// - Throws: `corrupt`, what `body` throws.
    static func go(
        _ filesystem: ExtFilesystem, _ number: UInt32, from first: UInt64, _ body: (ext2fs_extent) throws -> Bool
    ) throws {
        var handle: ext2_extent_handle_t?
        try filesystem.check(
            ext2fs_extent_open(filesystem.fs, number, &handle), "disk.read",
            "cannot read the extents of inode \(number)")
        defer { ext2fs_extent_free(handle) }
        var walk = ExtExtentWalk(filesystem: filesystem, number: number, handle: handle)
        var isThere = try walk.start(first)
        while isThere, try body(walk.extent) { isThere = try walk.advance() }
    }

    private init(filesystem: ExtFilesystem, number: UInt32, handle: ext2_extent_handle_t?) {
        self.filesystem = filesystem
        self.number = number
        self.handle = handle
    }

    private mutating func start(_ first: UInt64) throws -> Bool {
        let code = first > 0 ? ext2fs_extent_goto(handle, first) : errcode_t(EXT2_ET_EXTENT_NOT_FOUND)
        let isFound = first > 0 && (code == 0 || code == errcode_t(EXT2_ET_EXTENT_NOT_FOUND))
        guard try move(isFound ? EXT2_EXTENT_CURRENT : EXT2_EXTENT_ROOT) else { return false }
        return try descend()
    }

    private mutating func advance() throws -> Bool {
        while try !move(EXT2_EXTENT_NEXT_SIB) {
            guard try move(EXT2_EXTENT_UP) else { return false }
        }
        return try descend()
    }

    private mutating func descend() throws -> Bool {
        while extent.e_flags & UInt32(EXT2_EXTENT_FLAGS_LEAF) == 0 {
            guard try move(EXT2_EXTENT_DOWN) else { return false }
        }
        return true
    }

    /// False where there is nothing in that direction.
    private mutating func move(_ direction: Int32) throws -> Bool {
        steps += 1
        // Each step of a sound tree shows another entry, of which a block holds less than its bytes.
        guard steps <= filesystem.blocksCount * UInt64(filesystem.fs.pointee.blocksize) else {
            throw ExtError.corrupt("disk.read", "inode \(number) has extents that go round in a circle")
        }
        let code = ext2fs_extent_get(handle, direction, &extent)
        let ends = [EXT2_ET_EXTENT_NO_NEXT, EXT2_ET_EXTENT_NO_UP, EXT2_ET_EXTENT_NO_DOWN, EXT2_ET_NO_CURRENT_NODE]
        if ends.contains(Int(code)) { return false }
        try filesystem.check(code, "disk.read", "cannot read the extents of inode \(number)")
        return true
    }
}
