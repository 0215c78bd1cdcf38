import Abstractions

/// One inode as it stands on the disk, all of its bytes, with its fields by name.
///
/// Layout: `struct ext2_inode_large` in `ext2fs/ext2_fs.h`, little endian like every host this is built for. An inode of 128 bytes
/// has no nanoseconds and no times after 2038.
struct ExtInode {
    static let extents: UInt32 = 0x80000
    static let index: UInt32 = 0x1000
    static let inlineData: UInt32 = 0x1000_0000
    static let encrypted: UInt32 = 0x800
    static let goodOldSize = 128
    static let fastLinkLimit = 60

    var bytes: [UInt8]

    init(size: Int) { bytes = [UInt8](repeating: 0, count: size) }

    private func load<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type) -> Value {
        bytes.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: type)) }
    }

    private mutating func store<Value: FixedWidthInteger>(_ offset: Int, _ value: Value) {
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
        }
    }

    /// Type and permissions, as in `stat`.
    var mode: UInt16 {
        get { load(0, as: UInt16.self) }
        set { store(0, newValue) }
    }
    var uid: UInt32 {
        get { UInt32(load(2, as: UInt16.self)) | UInt32(load(0x78, as: UInt16.self)) << 16 }
        set {
            store(2, UInt16(truncatingIfNeeded: newValue))
            store(0x78, UInt16(truncatingIfNeeded: newValue >> 16))
        }
    }
    var gid: UInt32 {
        get { UInt32(load(0x18, as: UInt16.self)) | UInt32(load(0x7A, as: UInt16.self)) << 16 }
        set {
            store(0x18, UInt16(truncatingIfNeeded: newValue))
            store(0x7A, UInt16(truncatingIfNeeded: newValue >> 16))
        }
    }
    var size: UInt64 {
        get { UInt64(load(4, as: UInt32.self)) | UInt64(load(0x6C, as: UInt32.self)) << 32 }
        set {
            store(4, UInt32(truncatingIfNeeded: newValue))
            store(0x6C, UInt32(truncatingIfNeeded: newValue >> 32))
        }
    }
    var links: UInt16 {
        get { load(0x1A, as: UInt16.self) }
        set { store(0x1A, newValue) }
    }
    var flags: UInt32 {
        get { load(0x20, as: UInt32.self) }
        set { store(0x20, newValue) }
    }
    /// A block with extended attributes; 0 when there is none.
    var attributeBlock: UInt64 { UInt64(load(0x68, as: UInt32.self)) | UInt64(load(0x76, as: UInt16.self)) << 32 }
    var usesExtents: Bool { flags & ExtInode.extents != 0 }

    /// The 60 bytes of `i_block`: extents, block numbers or a short link's text.
    var blockArea: ArraySlice<UInt8> {
        get { bytes[0x28..<0x64] }
        set { bytes.replaceSubrange(0x28..<0x64, with: newValue) }
    }

    /// One of the 15 numbers of `i_block`.
    mutating func setBlockPointer(_ index: Int, _ value: UInt32) { store(0x28 + 4 * index, value) }

    // MARK: - Times

    private var hasLargeTimes: Bool { bytes.count > ExtInode.goodOldSize && load(0x80, as: UInt16.self) >= 16 }

    /// Last change of the content, in nanoseconds since 1970.
    var modified: Int64 {
        let seconds = Int64(Int32(bitPattern: load(0x10, as: UInt32.self)))
        guard hasLargeTimes else { return FileStat.nanoseconds(seconds: seconds, rest: 0) }
        let extra = load(0x88, as: UInt32.self)
        return FileStat.nanoseconds(seconds: seconds + Int64(extra & 3) << 32, rest: Int64(extra >> 2))
    }

    /// Sets a time: 0x08 access, 0x0C change, 0x10 modification, 0x90 creation.
    private mutating func setTime(_ offset: Int, extra: Int, _ nanoseconds: Int64) {
        var (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        if rest < 0 { (seconds, rest) = (seconds - 1, rest + 1_000_000_000) }
        // What the field cannot hold is brought to its nearest end.
        seconds = max(seconds, -0x8000_0000)
        seconds = min(seconds, hasLargeTimes ? 0x3_7FFF_FFFF : 0x7FFF_FFFF)
        let low = Int32(truncatingIfNeeded: seconds)
        store(offset, UInt32(bitPattern: low))
        if hasLargeTimes {
            let epoch = UInt32(truncatingIfNeeded: (seconds - Int64(low)) >> 32) & 3
            store(extra, UInt32(rest) << 2 | epoch)
        }
    }

    mutating func setModified(_ nanoseconds: Int64) { setTime(0x10, extra: 0x88, nanoseconds) }
    mutating func setChanged(_ nanoseconds: Int64) { setTime(0x0C, extra: 0x84, nanoseconds) }

    /// Makes it a new inode: sizes of the extra fields first, since the times depend on them.
    mutating func begin(mode: UInt16, now: Int64) {
        if bytes.count > ExtInode.goodOldSize { store(0x80, UInt16(32)) }
        self.mode = mode
        setTime(0x08, extra: 0x8C, now)
        setChanged(now)
        setModified(now)
        if hasLargeTimes { setTime(0x90, extra: 0x94, now) }
    }

    /// Marks it as deleted at a time in seconds.
    mutating func end(now: Int64) {
        links = 0
        store(0x14, UInt32(truncatingIfNeeded: now / 1_000_000_000))
    }

    // MARK: - Kind

    /// What it is; nil for a type that does not exist.
    var kind: FileKind? {
        switch mode & 0xF000 {
        case 0x8000: .file
        case 0x4000: .directory
        case 0xA000: .symlink
        case 0x6000: .blockDevice
        case 0x2000: .characterDevice
        case 0x1000: .fifo
        case 0xC000: .socket
        default: nil
        }
    }

    /// Type bits of `mode` for a kind.
    static func typeBits(_ kind: FileKind) -> UInt16 {
        switch kind {
        case .file: 0x8000
        case .directory: 0x4000
        case .symlink: 0xA000
        case .blockDevice: 0x6000
        case .characterDevice: 0x2000
        case .fifo: 0x1000
        case .socket: 0xC000
        }
    }

    /// The number that a directory entry holds for a kind (`EXT2_FT_…`).
    static func entryType(_ kind: FileKind) -> UInt8 {
        switch kind {
        case .file: 1
        case .directory: 2
        case .characterDevice: 3
        case .blockDevice: 4
        case .fifo: 5
        case .socket: 6
        case .symlink: 7
        }
    }
}
