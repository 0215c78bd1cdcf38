/// A CD without a file, from which a BIOS boots one sector as it would from a disk.
///
/// ```
/// sector 16   primary volume descriptor          ECMA-119, 8.4
///        17   boot record: the catalogue is in 19  "El Torito" 1.0, figure 7
///        18   end of the descriptors             ECMA-119, 8.3
///        19   boot catalogue                     "El Torito" 1.0, figures 2 and 3
///        20   what is booted
///        21   root folder, empty                 ECMA-119, 9.1
/// ```
struct BootableCD {
    private static let sectorSize = 2048
    private static let sectorCount = 22
    /// The image.
    private(set) var bytes = [UInt8](repeating: 0, count: sectorSize * sectorCount)

    /// - Parameter program: what the BIOS loads to 0x7c00, at most 2,048 bytes.
    init(program: [UInt8]) {
        put("\u{1}CD001\u{1}", 16)
        put([UInt8](repeating: 0x20, count: 64), 16, 8)
        put("MINI", 16, 40)
        putBoth(UInt32(Self.sectorCount), 16, 80)
        for offset in [120, 124] { putBoth(UInt16(1), 16, offset) }
        putBoth(UInt16(Self.sectorSize), 16, 128)
        putFolder(16, 156)
        put([1], 16, 881)
        put("\u{0}CD001\u{1}EL TORITO SPECIFICATION", 17)
        put([19], 17, 71)
        put([0xff] + Array("CD001\u{1}".utf8), 18)
        // The sum of its sixteen words is zero.
        put([1], 19)
        put([0xaa, 0x55, 0x55, 0xaa], 19, 28)
        // Bootable, no emulation of a disk, to the usual place, four sectors of 512 bytes, from sector 20.
        put([0x88, 0, 0, 0, 0, 0, 4, 0, 20], 19, 32)
        put(program, 20)
        putFolder(21, 0)
    }

    private mutating func put(_ text: String, _ sector: Int, _ offset: Int = 0) {
        put(Array(text.utf8), sector, offset)
    }

    private mutating func put(_ value: [UInt8], _ sector: Int, _ offset: Int = 0) {
        let start = sector * Self.sectorSize + offset
        bytes.replaceSubrange(start..<start + value.count, with: value)
    }

    /// A number in both byte orders, the small end first (ECMA-119, 7.2.3 and 7.3.3).
    private mutating func putBoth<Number: FixedWidthInteger>(_ value: Number, _ sector: Int, _ offset: Int) {
        let size = Number.bitWidth / 8
        let little = (0..<size).map { UInt8(truncatingIfNeeded: value >> Number($0 * 8)) }
        put(little + little.reversed(), sector, offset)
    }

    private mutating func putFolder(_ sector: Int, _ offset: Int) {
        put([34], sector, offset)
        putBoth(UInt32(21), sector, offset + 2)
        putBoth(UInt32(Self.sectorSize), sector, offset + 10)
        // A folder; the only volume of its set; a name of one byte, zero.
        put([2], sector, offset + 25)
        putBoth(UInt16(1), sector, offset + 28)
        put([1], sector, offset + 32)
    }
}
