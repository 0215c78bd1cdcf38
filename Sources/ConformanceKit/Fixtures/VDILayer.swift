import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Snapshot layers of VDI images, made and put together here: no other tool on this side of VirtualBox knows them.
///
/// Little-endian numbers at: 0x4c type (4: differencing), 0x154 block map, 0x158 data, 0x178 block size, 0x180 blocks, 0x184 blocks
/// in the file, 0x188 uuid, 0x198 its last change; 0x1a8 and 0x1b8 the same of the parent. Source: VirtualBox,
/// src/VBox/Storage/VDICore.h.
enum VDILayer {
    /// Writes an empty layer over a base image.
    static func make(over base: HostPath, at path: HostPath) throws {
        let whole = try HostFiles.read(base)
        var bytes = Array(whole[..<number(whole, 0x158)])
        bytes.replaceSubrange(0x4c..<0x50, with: [4, 0, 0, 0])
        bytes.replaceSubrange(0x184..<0x188, with: [0, 0, 0, 0])
        bytes.replaceSubrange(0x1a8..<0x1c8, with: whole[0x188..<0x1a8])
        bytes.replaceSubrange(0x188..<0x1a8, with: (0..<32).map { _ in UInt8.random(in: 1...255) })
        let map = number(bytes, 0x154)
        let entries = [UInt8](repeating: 0xff, count: number(bytes, 0x180) * 4)
        bytes.replaceSubrange(map..<map + entries.count, with: entries)
        try HostFiles.write(bytes, to: path)
    }

    /// Lays a layer's blocks over its base's content, which is raw already.
    static func lay(_ layer: HostPath, over raw: HostPath) throws {
        let bytes = try HostFiles.read(layer)
        let (map, data, size) = (number(bytes, 0x154), number(bytes, 0x158), number(bytes, 0x178))
        var content = try HostFiles.read(raw)
        for block in 0..<number(bytes, 0x180) {
            let entry = number(bytes, map + block * 4)
            guard entry != 0xffff_ffff else { continue }
            let range = block * size..<min((block + 1) * size, content.count)
            let start = data + entry * size
            content.replaceSubrange(
                range,
                with: entry == 0xffff_fffe
                    ? [UInt8](repeating: 0, count: range.count)[...] : bytes[start..<start + range.count])
        }
        try HostFiles.write(content, to: raw)
    }

    /// An image's own uuid.
    static func uuid(_ bytes: [UInt8]) -> [UInt8] { Array(bytes[0x188..<0x198]) }

    /// The uuid of the image that a layer lies over.
    static func parent(_ bytes: [UInt8]) -> [UInt8] { Array(bytes[0x1a8..<0x1b8]) }

    private static func number(_ bytes: [UInt8], _ offset: Int) -> Int {
        (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << ($1 * 8) }
    }
}
