import CExt2fs

/// Parses and makes the blocks of folders.
///
/// ```
///   inode u32 | rec_len u16 | name_len u8 | file_type u8 | name … padded to 4      one entry
///   … entries … | 0 u32 | 12 u16 | 0 u8 | 0xDE u8 | checksum u32                   with metadata_csum, at the block's end
/// ```
/// `name_len` has 16 bits and there is no type on file systems without the feature `filetype`. A record of 64 KiB is written as
/// 0xFFFF. Source: `ext2fs/ext2_fs.h`, `struct ext2_dir_entry_2`.
struct ExtDirectoryBlock {
    static let tailSize = 12

    private(set) var bytes: [UInt8]
    private let usable: Int
    private var end = 0
    private var last = -1

    /// An empty block.
    init(size: Int, hasTail: Bool) {
        bytes = [UInt8](repeating: 0, count: size)
        usable = hasTail ? size - ExtDirectoryBlock.tailSize : size
    }

    /// The space that an entry takes at least.
    static func length(_ nameLength: Int) -> Int { (8 + nameLength + 3) & ~3 }

    /// Space left behind the entries.
    var room: Int { usable - end }

    /// Puts an entry behind the others.
    mutating func append(_ name: [UInt8], inode: UInt32, type: UInt8) {
        let length = ExtDirectoryBlock.length(name.count)
        put(UInt32(inode), at: end)
        putLength(length, at: end)
        bytes[end + 6] = UInt8(name.count)
        bytes[end + 7] = type
        bytes.replaceSubrange(end + 8..<end + 8 + name.count, with: name)
        last = end
        end += length
    }

    /// Gives the rest of the block to the last entry and writes the tail; the checksum comes when the block is written.
    mutating func finish() {
        if last < 0 {
            putLength(usable, at: 0)
        } else {
            putLength(usable - last, at: last)
        }
        if usable < bytes.count {
            bytes[usable + 4] = UInt8(ExtDirectoryBlock.tailSize)
            bytes[usable + 7] = 0xDE
        }
    }

    /// Overwrites bytes.
    mutating func put(_ values: [UInt8], at offset: Int) {
        bytes.replaceSubrange(offset..<offset + values.count, with: values)
    }

    private mutating func putLength(_ length: Int, at offset: Int) {
        let value = UInt16(length == 65536 ? 0xFFFF : length)
        bytes[offset + 4] = UInt8(truncatingIfNeeded: value)
        bytes[offset + 5] = UInt8(truncatingIfNeeded: value >> 8)
    }

    private mutating func put(_ value: UInt32, at offset: Int) {
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(index))) }
    }

    /// The entries of a block that are in use, `.` and `..` too; nil when the block is damaged.
    static func parse(_ block: UnsafeRawBufferPointer, hasTypes: Bool) -> [ExtDirectory.Entry]? {
        var entries: [ExtDirectory.Entry] = []
        var offset = 0
        while offset < block.count {
            guard offset + 8 <= block.count else { return nil }
            let inode = UInt32(littleEndian: block.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
            let raw = Int(UInt16(littleEndian: block.loadUnaligned(fromByteOffset: offset + 4, as: UInt16.self)))
            let length = block.count == 65536 && (raw == 0xFFFF || raw == 0) ? 65536 : raw
            let nameLength = Int(block[offset + 6])
            guard length >= 8, length % 4 == 0, offset + length <= block.count, 8 + nameLength <= length else {
                return nil
            }
            if inode != 0 {
                guard nameLength > 0 else { return nil }
                entries.append(
                    ExtDirectory.Entry(
                        name: Array(block[offset + 8..<offset + 8 + nameLength]), inode: inode,
                        type: hasTypes ? block[offset + 7] & 7 : 0))
            }
            offset += length
        }
        return entries
    }
}
