import Abstractions

/// VirtualBox's disk image, one layer.
///
/// ```
/// 0x000  text                       0x170  disk size, bytes (u64)
/// 0x040  signature 0xbeda107f       0x178  block size (u32)
/// 0x044  version 1.1                0x17c  extra bytes before each block
/// 0x048  header size                0x180  blocks of the disk
/// 0x04c  type 1 dynamic 2 fixed     0x184  blocks in the file
///             4 differencing        0x188  uuid of the image
/// 0x154  offset of the block map    0x198  uuid of the last change
/// 0x158  offset of the first block  0x1a8  uuid of the parent
/// ```
/// Block map: one u32 a block, its index in the file; 0xffffffff asks the parent (zero when there is none), 0xfffffffe is
/// zero. All numbers are little-endian. Source: VirtualBox, src/VBox/Storage/VDICore.h.
struct VDILayout: ImageLayout {
    static let signature: UInt32 = 0xbeda_107f
    static let askParent: UInt32 = 0xffff_ffff
    static let zero: UInt32 = 0xffff_fffe
    /// Bounds the memory that a hostile header can ask for; 64 TiB with VirtualBox's usual blocks.
    static let mostBlocks: Int64 = 1 << 26

    let size: Int64
    let type: UInt32
    let mapOffset: Int64
    let dataOffset: Int64
    let blockSize: Int64
    let blockExtra: Int64
    let uuid: [UInt8]
    var map: [UInt32]
    var allocated: UInt32

    private var stride: Int64 { blockSize + blockExtra }
    var mark: ImageMark? { ImageMark(offset: 0x188, bytes: uuid) }
    var fileLength: Int64 { dataOffset + Int64(allocated) * stride }

    func locate(_ offset: Int64) -> (place: Place, count: Int64) {
        let inside = offset % blockSize
        let count = min(blockSize - inside, size - offset)
        let entry = map[Int(offset / blockSize)]
        guard entry < VDILayout.zero else { return (.zero, count) }
        return (.file(dataOffset + Int64(entry) * stride + blockExtra + inside), count)
    }

    mutating func allocate(_ offset: Int64) throws -> (place: Int64, count: Int64) {
        let block = Int(offset / blockSize)
        if map[block] >= VDILayout.zero {
            map[block] = allocated
            allocated += 1
        }
        guard case (.file(let place), let count) = locate(offset) else {
            throw BackendError(.internal, "disk.write", "block \(block) has no place after it was given one")
        }
        return (place, count)
    }

    func metadataChanges(from old: VDILayout) -> [(offset: Int64, bytes: [UInt8])] {
        var changes: [(offset: Int64, bytes: [UInt8])] = []
        var index = 0
        while index < map.count {
            guard map[index] != old.map[index] else {
                index += 1
                continue
            }
            let first = index
            while index < map.count && map[index] != old.map[index] { index += 1 }
            changes.append((mapOffset + Int64(first) * 4, map[first..<index].flatMap { littleEndian($0) }))
        }
        if allocated != old.allocated { changes.append((0x184, littleEndian(allocated))) }
        // VirtualBox tells by this uuid that a child of this image no longer fits.
        changes.append((0x198, VDILayout.randomUUID()))
        return changes
    }

    /// A random uuid, version 4 (RFC 9562), as bytes.
    static func randomUUID() -> [UInt8] {
        var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        return bytes
    }
}

func littleEndian(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
func littleEndian(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

extension [UInt8] {
    func u16(_ offset: Int) -> UInt16 { UInt16(self[offset]) | UInt16(self[offset + 1]) << 8 }
    func u32(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(self[offset + $1]) << ($1 * 8) } }
    func i64(_ offset: Int) -> Int64 { Int64(bitPattern: u64(offset)) }
    func u64(_ offset: Int) -> UInt64 { (0..<8).reduce(0) { $0 | UInt64(self[offset + $1]) << ($1 * 8) } }
}
