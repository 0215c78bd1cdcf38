/// The second part of what says what a dynamic or differencing VHD is.
///
/// ```
/// 0   "cxsparse"                        36   checksum, as in the footer
/// 16  offset of the block table (u64)   40   uuid of the parent
/// 24  version 1.0 (0x00010000)          56   time stamp of the parent, seconds since 2000
/// 28  entries of the table              64   name of the parent, UTF-16, 512 bytes
/// 32  block size, bytes                 576  8 locators of the parent
/// ```
/// A locator: code, space, length, zero (u32 each), offset (u64) of a name of the parent: W2ru a relative path and W2ku an absolute
/// one, in little-endian UTF-16; other codes are of systems long gone. The time stamp proves nothing: VirtualBox puts the child's own
/// there. Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0.
struct VHDHeader: Sendable {
    static let length = 1024
    private static let cookie = Array("cxsparse".utf8)
    /// A name that is longer is not read.
    private static let longestName: UInt32 = 8192

    /// A place where a name of the parent lies.
    struct Locator: Sendable {
        var code: String
        var offset: Int64
        var count: Int64
    }

    let bytes: [UInt8]
    var tableOffset: Int64 { bytes.bigI64(16) }
    var entries: Int64 { Int64(bytes.big32(28)) }
    var blockSize: Int64 { Int64(bytes.big32(32)) }
    var parent: ImageUUID? { ImageUUID(bytes[40..<56]) }
    /// The locators that say anything.
    var locators: [Locator] {
        (0..<8).map { 576 + 24 * $0 }.filter { bytes.big32($0) != 0 && bytes.big32($0 + 8) != 0 }.map { at in
            Locator(
                code: String(decoding: bytes[at..<at + 4], as: UTF8.self), offset: bytes.bigI64(at + 16),
                count: Int64(bytes.big32(at + 8)))
        }
    }

    /// Reads and checks a header.
    init(_ bytes: [UInt8]) throws(VHDProblem) {
        self.bytes = bytes
        guard bytes.starts(with: VHDHeader.cookie) else { throw VHDProblem("no header") }
        guard bytes.big32(36) == VHDFooter.checksum(bytes, at: 36) else {
            throw VHDProblem("a header whose checksum is wrong")
        }
        guard bytes.big32(24) == 0x0001_0000 else {
            throw VHDProblem("a header of version \(bytes.big32(24) >> 16).\(bytes.big32(24) & 0xffff) instead of 1.0")
        }
    }

    /// A new image's; `locator` is where the relative path of its parent lies.
    init(entries: Int64, blockSize: Int64, parent: ImageUUID?, name: String, locator: Locator?) {
        var bytes = [UInt8](repeating: 0, count: VHDHeader.length)
        bytes.put(VHDHeader.cookie + bigEndian(UInt64.max), 0)
        bytes.put(bigEndian(UInt64(VHDFooter.length) + UInt64(VHDHeader.length)), 16)
        bytes.put(bigEndian(0x0001_0000 as UInt32) + bigEndian(UInt32(entries)) + bigEndian(UInt32(blockSize)), 24)
        if let parent { bytes.put(parent.bytes, 40) }
        bytes.put(Array(name.utf16.prefix(255)).flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }, 64)
        if let locator {
            let space = (locator.count + 511) / 512 * 512
            bytes.put(Array(locator.code.utf8), 576)
            bytes.put(bigEndian(UInt32(space)) + bigEndian(UInt32(locator.count)), 580)
            bytes.put(bigEndian(UInt64(locator.offset)), 592)
        }
        bytes.put(bigEndian(VHDFooter.checksum(bytes, at: 36)), 36)
        self.bytes = bytes
    }

    /// The names that the image gives its parent.
    func names(in file: any ImageFile) throws -> [String] {
        let units = stride(from: 64, to: 576, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        var names = [String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)]
        for locator in locators
        where ["W2ru", "W2ku"].contains(locator.code) && locator.count <= VHDHeader.longestName && locator.offset >= 0 {
            let text = try file.bytes(at: locator.offset, count: Int(locator.count) / 2 * 2)
            let units = stride(from: 0, to: text.count, by: 2).map { text.u16($0) }
            names.append(String(decoding: units.prefix { $0 != 0 }, as: UTF16.self))
        }
        return names.filter { !$0.isEmpty }
    }
}
