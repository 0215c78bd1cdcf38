import Abstractions

/// What a commit is about to write over an image, whole and checksummed before the first byte of the image changes.
///
/// ```
/// 0     "ANYVREDO"   8  version 1 (u64)   16  image length after (u64)   24  image length before (u64)
/// 32    first byte of the index (u64)     40  extents in the index (u64)
/// 48    where the image's mark lies (u64, all ones: it has none)         56  the mark, 16 bytes
/// 72    checksum of bytes 0 to 71 (u64)
/// 4096  data of the extents, in any order
/// index one extent: offset in the image (u64), length (u64), offset in this file (u64), checksum of its data (u64)
/// end   checksum of the index (u64), "ANYVDONE"
/// ```
/// While a transaction runs, its staged pages lie in `IMAGE.redo.<tag>-<pid>-<number>`, which begins with "ANYVDRFT": the log
/// in the making. The commit adds the index and the header, syncs, and renames it to `IMAGE.redo`: the commit point. Then it
/// is applied, and removed. Whoever opens the image next applies a log that is whole again, which changes nothing where that
/// was done, and drops one that is not. All numbers are little-endian.
enum RedoLog {
    static let dataStart: Int64 = 4096
    static let draftMagic = Array("ANYVDRFT".utf8)
    static let magic = Array("ANYVREDO".utf8)
    private static let done = Array("ANYVDONE".utf8)
    private static let headerLength = 80

    /// A piece of the image's file that the commit replaces.
    struct Extent: Sendable, Hashable {
        var offset: Int64
        var length: Int64
        var logOffset: Int64
        var checksum: UInt64
    }

    /// What a whole log says.
    struct Contents: Sendable {
        var lengthBefore: Int64
        var lengthAfter: Int64
        var mark: ImageMark?
        var extents: [Extent]
    }

    /// Completes a draft: writes the index and the header and makes all durable.
    static func seal(_ draft: any ImageFile, _ contents: Contents, indexOffset: Int64) throws {
        var index: [UInt8] = []
        index.reserveCapacity(contents.extents.count * 32 + 16)
        for extent in contents.extents {
            for value in [extent.offset, extent.length, extent.logOffset] { index += littleEndian(UInt64(value)) }
            index += littleEndian(extent.checksum)
        }
        index += littleEndian(checksum(index)) + done
        try draft.write(at: indexOffset, bytes: index)
        var header = magic + littleEndian(1 as UInt64)
        for value in [contents.lengthAfter, contents.lengthBefore, indexOffset, Int64(contents.extents.count)] {
            header += littleEndian(UInt64(value))
        }
        header += littleEndian(contents.mark.map { UInt64($0.offset) } ?? .max)
        header += contents.mark?.bytes ?? [UInt8](repeating: 0, count: 16)
        header += littleEndian(checksum(header))
        try draft.write(at: 0, bytes: header)
        try draft.sync()
    }

    /// Reads a log; nil when it is not whole, for whatever reason.
    static func read(_ file: any ImageFile) throws -> Contents? {
        let length = try file.length()
        guard length >= dataStart else { return nil }
        let header = try file.bytes(at: 0, count: headerLength)
        guard Array(header[0..<8]) == magic, header.u64(8) == 1, header.u64(72) == checksum(Array(header[0..<72]))
        else { return nil }
        let (indexOffset, count) = (header.i64(32), header.i64(40))
        guard indexOffset >= dataStart, indexOffset <= length, count >= 0, count <= length / 32,
            length - indexOffset == count * 32 + 16
        else { return nil }
        let index = try file.bytes(at: indexOffset, count: Int(count) * 32 + 16)
        guard Array(index.suffix(8)) == done, index.u64(Int(count) * 32) == checksum(Array(index.dropLast(16))) else {
            return nil
        }
        let extents = (0..<Int(count)).map { number in
            let at = number * 32
            return Extent(
                offset: index.i64(at), length: index.i64(at + 8), logOffset: index.i64(at + 16),
                checksum: index.u64(at + 24))
        }
        let lengthAfter = header.i64(16)
        for extent in extents where try !isWhole(extent, file, indexOffset, lengthAfter) { return nil }
        let mark = header.u64(48) == .max ? nil : ImageMark(offset: header.i64(48), bytes: Array(header[56..<72]))
        return Contents(lengthBefore: header.i64(24), lengthAfter: lengthAfter, mark: mark, extents: extents)
    }

    private static func isWhole(_ extent: Extent, _ file: any ImageFile, _ dataEnd: Int64, _ imageEnd: Int64) throws
        -> Bool
    {
        guard extent.length > 0, extent.length <= 64 << 20, extent.offset >= 0, extent.logOffset >= dataStart,
            extent.logOffset <= dataEnd - extent.length, extent.offset <= imageEnd - extent.length
        else { return false }
        return checksum(try file.bytes(at: extent.logOffset, count: Int(extent.length))) == extent.checksum
    }

    /// Writes the extents over the image and makes them durable. Doing it twice is the same as once.
    static func apply(_ contents: Contents, from log: any ImageFile, to image: any ImageFile) throws {
        if try image.length() < contents.lengthAfter { try image.truncate(to: contents.lengthAfter) }
        let most = 1 << 20
        try withUnsafeTemporaryAllocation(byteCount: most, alignment: 16) { buffer in
            for extent in contents.extents {
                var moved: Int64 = 0
                while moved < extent.length {
                    let part = UnsafeMutableRawBufferPointer(
                        rebasing: buffer[..<Int(min(Int64(most), extent.length - moved))])
                    try log.read(at: extent.logOffset + moved, into: part)
                    try image.write(at: extent.offset + moved, from: UnsafeRawBufferPointer(part))
                    moved += Int64(part.count)
                }
            }
        }
        try image.sync()
    }

    static func checksum(_ bytes: [UInt8]) -> UInt64 { bytes.withUnsafeBytes { checksum($0) } }

    /// Four lanes of eight bytes a step, multiplied and rotated as in xxHash's rounds (https://xxhash.com): finds torn writes,
    /// not forgers.
    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let (prime, other) = (0x9e37_79b1_85eb_ca87 as UInt64, 0xc2b2_ae3d_27d4_eb4f as UInt64)
        func mixed(_ hash: UInt64, _ word: UInt64) -> UInt64 {
            let sum = hash ^ word &* other
            return (sum &<< 31 | sum &>> 33) &* prime
        }
        var lanes = (prime, prime &+ other, other, prime ^ UInt64(bytes.count))
        var offset = 0
        while offset + 32 <= bytes.count {
            lanes.0 = mixed(lanes.0, bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian)
            lanes.1 = mixed(lanes.1, bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self).littleEndian)
            lanes.2 = mixed(lanes.2, bytes.loadUnaligned(fromByteOffset: offset + 16, as: UInt64.self).littleEndian)
            lanes.3 = mixed(lanes.3, bytes.loadUnaligned(fromByteOffset: offset + 24, as: UInt64.self).littleEndian)
            offset += 32
        }
        var hash = mixed(mixed(mixed(lanes.3, lanes.2), lanes.1), lanes.0)
        while offset < bytes.count {
            hash = mixed(hash, UInt64(bytes[offset]))
            offset += 1
        }
        return hash ^ hash &>> 29
    }
}
