import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// What says what a VHD is: its last 512 bytes, and for all but fixed images its first ones too.
///
/// ```
/// 0   "conectix"                        40  original size (u64)
/// 8   features, 2                       48  size of the disk, bytes (u64)
/// 12  version 1.0 (0x00010000)          56  geometry: cylinders (u16), heads, sectors
/// 16  offset of the header (u64);       60  2 fixed, 3 dynamic, 4 differencing
///     all ones in a fixed image         64  checksum: ones' complement of the sum of all other bytes
/// 24  seconds since 2000                68  uuid
/// 28  made by, 4 letters                84  saved state
/// ```
/// All numbers are big-endian. Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0.
struct VHDFooter: Sendable {
    static let length: Int64 = 512
    static let cookie = Array("conectix".utf8)
    /// What a block map of 32-bit sector numbers can reach, as other programs bound it.
    static let mostBytes: Int64 = 2040 << 30

    /// The kinds of images.
    enum Kind: UInt32 {
        case fixed = 2
        case dynamic = 3
        case differencing = 4
    }

    let bytes: [UInt8]
    let kind: Kind
    var size: Int64 { bytes.bigI64(48) }
    var headerOffset: Int64 { bytes.bigI64(16) }
    var uuid: ImageUUID? { ImageUUID(bytes[68..<84]) }

    /// Reads and checks a footer.
    ///
    /// - Throws: what is wrong with it.
    init(_ bytes: [UInt8]) throws(VHDProblem) {
        self.bytes = bytes
        guard bytes.starts(with: VHDFooter.cookie) else { throw VHDProblem("no footer") }
        guard bytes.big32(64) == VHDFooter.checksum(bytes, at: 64) else {
            throw VHDProblem("a footer whose checksum is wrong")
        }
        guard bytes.big32(12) == 0x0001_0000 else {
            throw VHDProblem("a footer of version \(bytes.big32(12) >> 16).\(bytes.big32(12) & 0xffff) instead of 1.0")
        }
        guard let kind = Kind(rawValue: bytes.big32(60)) else {
            throw VHDProblem("type \(bytes.big32(60)) instead of 2 (fixed), 3 (dynamic) or 4 (differencing)")
        }
        self.kind = kind
        guard size > 0, size % 512 == 0, size <= VHDFooter.mostBytes else { throw VHDProblem("disk size \(size)") }
    }

    /// A new image's.
    init(size: Int64, _ kind: Kind) {
        var bytes = [UInt8](repeating: 0, count: Int(VHDFooter.length))
        let sinceEpoch: Int64 = 946_684_800
        bytes.put(VHDFooter.cookie, 0)
        bytes.put(bigEndian(2 as UInt32) + bigEndian(0x0001_0000 as UInt32), 8)
        bytes.put(bigEndian(kind == .fixed ? UInt64.max : UInt64(VHDFooter.length)), 16)
        bytes.put(bigEndian(UInt32(truncatingIfNeeded: Int64(time(nil)) - sinceEpoch)), 24)
        // By this name QEMU knows that the size counts, not what the rounded geometry gives.
        bytes.put(Array("qem2".utf8) + bigEndian(0x0001_0000 as UInt32) + Array("Wi2k".utf8), 28)
        bytes.put(bigEndian(UInt64(size)) + bigEndian(UInt64(size)), 40)
        bytes.put(VHDFooter.geometry(size / 512), 56)
        bytes.put(bigEndian(kind.rawValue), 60)
        bytes.put(ImageUUID.random().bytes, 68)
        bytes.put(bigEndian(VHDFooter.checksum(bytes, at: 64)), 64)
        self.bytes = bytes
        self.kind = kind
    }

    /// Whether two footers are of one image, in one state.
    func isSame(as other: VHDFooter) -> Bool {
        kind == other.kind && size == other.size && uuid == other.uuid && headerOffset == other.headerOffset
    }

    /// The checksum of footer or header, of which four bytes are its own place.
    static func checksum(_ bytes: [UInt8], at place: Int) -> UInt32 {
        ~bytes.enumerated().reduce(0) { $1.offset >= place && $1.offset < place + 4 ? $0 : $0 &+ UInt32($1.element) }
    }

    /// Cylinders, heads and sectors by the specification's appendix.
    private static func geometry(_ sectors: Int64) -> [UInt8] {
        let sectors = min(sectors, 65535 * 16 * 255)
        var (perTrack, heads): (Int64, Int64) = (255, 16)
        if sectors < 65535 * 16 * 63 {
            perTrack = 17
            heads = max(4, (sectors / 17 + 1023) / 1024)
            if sectors / 17 >= heads * 1024 || heads > 16 { (perTrack, heads) = (31, 16) }
            if sectors / 31 >= heads * 1024, perTrack == 31 { (perTrack, heads) = (63, 16) }
        }
        let cylinders = UInt16(sectors / perTrack / heads)
        return [UInt8(cylinders >> 8), UInt8(cylinders & 0xff), UInt8(heads), UInt8(perTrack)]
    }
}

/// What is wrong with a part of a VHD, in words that follow "is not a sound VHD image:".
struct VHDProblem: Error {
    var text: String
    init(_ text: String) { self.text = text }
}

func bigEndian(_ value: UInt32) -> [UInt8] { littleEndian(value).reversed() }
func bigEndian(_ value: UInt64) -> [UInt8] { littleEndian(value).reversed() }

extension [UInt8] {
    func bigI64(_ offset: Int) -> Int64 { Int64(bitPattern: big64(offset)) }
    mutating func put(_ bytes: [UInt8], _ offset: Int) { replaceSubrange(offset..<offset + bytes.count, with: bytes) }
}
