import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What a commit is about to write over an image, whole and checksummed before the first byte of the image changes.
///
/// ```
/// 0     "ANYVREDO"   8  version 1 (u64)   16  image length after (u64)   24  image length before (u64)
/// 32    first byte of the index (u64)     40  extents in the index (u64) 48  checksum of bytes 0 to 47
/// 4096  data of the extents, in any order
/// index one extent: offset in the image (u64), length (u64), offset in this file (u64), checksum of its data (u64)
/// end   checksum of the index (u64), "ANYVDONE"
/// ```
/// While a transaction runs, its staged pages lie in `IMAGE.redo.<tag>`: the log in the making. The commit adds the index and
/// the header, syncs, and renames it to `IMAGE.redo`: the commit point. Then it is applied, and removed. Whoever opens the
/// image next applies a log that is whole again, which changes nothing where that was done, and drops every other one.
enum RedoLog {
    static let dataStart: Int64 = 4096
    private static let magic = Array("ANYVREDO".utf8)
    private static let done = Array("ANYVDONE".utf8)

    /// A piece of the image's file that the commit replaces.
    struct Extent: Sendable, Hashable {
        var offset: Int64
        var length: Int64
        var logOffset: Int64
        var checksum: UInt64
    }

    /// A log that was found whole.
    struct Contents: Sendable {
        var lengthBefore: Int64
        var lengthAfter: Int64
        var extents: [Extent]
    }

    static func path(of image: HostPath) -> HostPath { HostPath(image.string + ".redo") }

    /// A name for a log in the making, which nobody else uses.
    static func draftPath(of image: HostPath) -> HostPath {
        let tag = RunScope.current?.id ?? "x"
        return HostPath("\(image.string).redo.\(tag)-\(getpid())-\(UInt32.random(in: 0...UInt32.max))")
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
        header += littleEndian(checksum(header))
        try draft.write(at: 0, bytes: header)
        try draft.sync()
    }

    /// Reads a log; nil when it is not whole, for whatever reason.
    static func read(_ file: any ImageFile) throws -> Contents? {
        let length = try file.length()
        guard length >= dataStart else { return nil }
        let header = try file.bytes(at: 0, count: 56)
        guard Array(header[0..<8]) == magic, header.u64(8) == 1, header.u64(48) == checksum(Array(header[0..<48]))
        else {
            return nil
        }
        let indexOffset = Int64(truncatingIfNeeded: header.u64(32))
        let count = Int(truncatingIfNeeded: header.u64(40))
        guard count >= 0, indexOffset >= dataStart, length == indexOffset + Int64(count) * 32 + 16 else { return nil }
        let index = try file.bytes(at: indexOffset, count: count * 32 + 16)
        guard Array(index.suffix(8)) == done, index.u64(count * 32) == checksum(Array(index.prefix(count * 32))) else {
            return nil
        }
        let extents = (0..<count).map { number in
            let at = number * 32
            return Extent(
                offset: Int64(truncatingIfNeeded: index.u64(at)), length: Int64(truncatingIfNeeded: index.u64(at + 8)),
                logOffset: Int64(truncatingIfNeeded: index.u64(at + 16)), checksum: index.u64(at + 24))
        }
        for extent in extents {
            guard extent.length > 0, extent.length <= 64 << 20, extent.offset >= 0, extent.logOffset >= dataStart,
                extent.logOffset + extent.length <= indexOffset,
                checksum(try file.bytes(at: extent.logOffset, count: Int(extent.length))) == extent.checksum
            else { return nil }
        }
        return Contents(
            lengthBefore: Int64(truncatingIfNeeded: header.u64(24)),
            lengthAfter: Int64(truncatingIfNeeded: header.u64(16)), extents: extents)
    }

    /// Writes the extents over the image and makes them durable. Doing it twice is the same as once.
    static func apply(_ contents: Contents, from log: any ImageFile, to image: any ImageFile) throws {
        if try image.length() < contents.lengthAfter { try image.truncate(to: contents.lengthAfter) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        for extent in contents.extents {
            var moved: Int64 = 0
            while moved < extent.length {
                let count = Int(min(Int64(buffer.count), extent.length - moved))
                try buffer.withUnsafeMutableBytes { whole in
                    let part = UnsafeMutableRawBufferPointer(rebasing: whole[..<count])
                    try log.read(at: extent.logOffset + moved, into: part)
                    try image.write(at: extent.offset + moved, from: UnsafeRawBufferPointer(part))
                }
                moved += Int64(count)
            }
        }
        try image.sync()
    }

    /// Brings an image to the state of its last commit: applies a whole log, removes every other one. The caller holds the
    /// image's write lock, so nobody alive owns what is found.
    ///
    /// - Returns: whether a log was applied.
    @discardableResult
    static func recover(_ image: any ImageFile) throws -> Bool {
        let folder = image.path.parent
        let prefix = image.path.name + ".redo."
        for name in HostFiles.names(in: folder) where name.hasPrefix(prefix) {
            unlink(folder.appending(name).string)
        }
        let path = path(of: image.path)
        guard HostFiles.exists(path) else { return false }
        let log = try PosixFile(path, O_RDONLY | O_NOFOLLOW)
        let contents = try read(log)
        if let contents { try apply(contents, from: log, to: image) }
        guard unlink(path.string) == 0 else { throw hostError("disk.recover", "cannot remove \(path)") }
        try HostFiles.syncDirectory(folder)
        return contents != nil
    }

    static func checksum(_ bytes: [UInt8]) -> UInt64 { bytes.withUnsafeBytes { checksum($0) } }

    /// Eight bytes a step, multiplied and rotated as in xxHash's rounds (https://xxhash.com): finds torn writes, not forgers.
    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = 0x9e37_79b1_85eb_ca87 as UInt64 ^ UInt64(bytes.count)
        func mix(_ word: UInt64) {
            hash ^= word &* 0xc2b2_ae3d_27d4_eb4f
            hash = (hash << 31 | hash >> 33) &* 0x9e37_79b1_85eb_ca87
        }
        var offset = 0
        while offset + 8 <= bytes.count {
            mix(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset += 8
        }
        var tail = 0 as UInt64
        for (index, byte) in bytes[offset...].enumerated() { tail |= UInt64(byte) << UInt64(index * 8) }
        mix(tail)
        return hash ^ hash >> 29
    }
}

/// An image as its committed log says it is, for a reader that may not write the log down.
final class PatchedFile: ImageFile {
    private let base: any ImageFile
    private let log: any ImageFile
    private let contents: RedoLog.Contents

    init(_ base: any ImageFile, _ log: any ImageFile, _ contents: RedoLog.Contents) {
        self.base = base
        self.log = log
        self.contents = contents
    }

    var path: HostPath { base.path }
    func length() throws -> Int64 { max(try base.length(), contents.lengthAfter) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(at: offset, into: buffer)
        let end = offset + Int64(buffer.count)
        for extent in contents.extents where extent.offset < end && extent.offset + extent.length > offset {
            let from = max(offset, extent.offset)
            let count = Int(min(end, extent.offset + extent.length) - from)
            let start = Int(from - offset)
            try log.read(
                at: extent.logOffset + from - extent.offset,
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + count]))
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws { throw readOnly }
    func reserve(at offset: Int64, count: Int64) throws { throw readOnly }
    func truncate(to length: Int64) throws { throw readOnly }
    func sync() throws {}

    private var readOnly: BackendError {
        BackendError(.invalidState, "disk.write", "image \(path) is open for reading only")
    }
}
