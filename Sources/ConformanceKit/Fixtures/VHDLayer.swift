import Abstractions
import Host

/// Differencing layers of VHD images, made and put together here: QEMU knows none.
///
/// Big-endian numbers in the footer, which is the file's first and its last 512 bytes, at: 16 offset of the header, 60 type (4:
/// differencing), 64 checksum, 68 uuid; in the header at: 16 offset of the block table, 28 its entries, 32 block size, 36 checksum,
/// 40 uuid of the parent, 64 its name in UTF-16. A block is a bitmap of its sectors, then the sectors. Source: Microsoft, Virtual
/// Hard Disk Image Format Specification 1.0.
enum VHDLayer {
    private static let sector = 512

    /// Writes an empty layer over a dynamic base image.
    static func make(over base: HostPath, at path: HostPath) throws {
        let whole = try HostFiles.read(base)
        var footer = Array(whole[..<sector])
        let place = number(footer, 20)
        var header = Array(whole[place..<place + 1024])
        let table = number(header, 20)
        header.replaceSubrange(40..<56, with: footer[68..<84])
        let name = base.name.utf16.prefix(256).flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
        header.replaceSubrange(64..<64 + name.count, with: name)
        sign(&header, 36)
        footer.replaceSubrange(60..<64, with: [0, 0, 0, 4])
        footer.replaceSubrange(68..<84, with: (0..<16).map { _ in UInt8.random(in: 1...255) })
        sign(&footer, 64)
        let entries = [UInt8](repeating: 0xff, count: (number(header, 28) * 4 + sector - 1) / sector * sector)
        var bytes = [UInt8](repeating: 0, count: max(place + header.count, table + entries.count))
        bytes.replaceSubrange(..<sector, with: footer)
        bytes.replaceSubrange(place..<place + header.count, with: header)
        bytes.replaceSubrange(table..<table + entries.count, with: entries)
        try HostFiles.write(bytes + footer, to: path)
    }

    /// Lays a layer's sectors over its base's content, which is raw already.
    static func lay(_ layer: HostPath, over raw: HostPath) throws {
        let bytes = try HostFiles.read(layer)
        let header = number(bytes, 20)
        let (table, size) = (number(bytes, header + 20), number(bytes, header + 32))
        let bitmap = (size / sector / 8 + sector - 1) / sector * sector
        var content = try HostFiles.read(raw)
        for block in 0..<number(bytes, header + 28) {
            let entry = number(bytes, table + block * 4)
            guard entry != 0xffff_ffff else { continue }
            let start = entry * sector
            for number in 0..<size / sector where bytes[start + number / 8] & 0x80 >> (number % 8) != 0 {
                let (from, to) = (start + bitmap + number * sector, block * size + number * sector)
                guard to < content.count else { break }
                content.replaceSubrange(to..<to + sector, with: bytes[from..<from + sector])
            }
        }
        try HostFiles.write(content, to: raw)
    }

    /// An image's own uuid.
    static func uuid(_ bytes: [UInt8]) -> [UInt8] { Array(bytes[68..<84]) }

    /// The uuid of the image that a layer lies over.
    static func parent(_ bytes: [UInt8]) -> [UInt8] {
        let header = number(bytes, 20)
        return Array(bytes[header + 40..<header + 56])
    }

    /// Writes the checksum: the complement of the sum of all other bytes.
    private static func sign(_ bytes: inout [UInt8], _ place: Int) {
        bytes.replaceSubrange(place..<place + 4, with: [0, 0, 0, 0])
        let sum = ~bytes.reduce(0 as UInt32) { $0 &+ UInt32($1) }
        for byte in 0..<4 { bytes[place + byte] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * byte)) }
    }

    private static func number(_ bytes: [UInt8], _ offset: Int) -> Int {
        (0..<4).reduce(0) { $0 << 8 | Int(bytes[offset + $1]) }
    }
}
