import Abstractions

/// VirtualBox's disk image, one layer of a chain.
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
///                                   0x1b8  uuid of the parent's last change
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
    let links: LayerLinks?
    var map: [UInt32]
    var allocated: UInt32

    private var stride: Int64 { blockSize + blockExtra }
    var variant: String? { type == 1 ? "dynamic" : type == 2 ? "fixed" : "differencing" }
    var mark: ImageMark? { ImageMark(offset: 0x188, bytes: uuid) }
    var fileLength: Int64 { dataOffset + Int64(allocated) * stride }

    func locate(_ offset: Int64) -> (place: Place, count: Int64) {
        let inside = offset % blockSize
        let count = min(blockSize - inside, size - offset)
        switch map[Int(offset / blockSize)] {
        case VDILayout.zero: return (.zero, count)
        case VDILayout.askParent: return (.parent, count)
        case let entry: return (.file(place(of: entry) + inside), count)
        }
    }

    private func place(of entry: UInt32) -> Int64 { dataOffset + Int64(entry) * stride + blockExtra }

    mutating func allocate(_ offset: Int64, _ count: Int64) -> Allocation {
        let block = Int(offset / blockSize)
        let start = Int64(block) * blockSize
        let end = min(start + blockSize, size)
        let old = map[block]
        if old >= VDILayout.zero {
            map[block] = allocated
            allocated += 1
        }
        let shift = place(of: map[block]) - start
        var allocation = Allocation(place: offset + shift, count: min(count, end - offset))
        // A new block lies past the file's end, where all is zero.
        if old == VDILayout.askParent { allocation.filling = Filling(range: start..<end, shift: shift, isHole: true) }
        return allocation
    }

    mutating func committed() {}

    func metadataChanges(from old: VDILayout) -> [(offset: Int64, bytes: [UInt8])] {
        var changes: [(offset: Int64, bytes: [UInt8])] = []
        for range in changedRuns(map, old.map) {
            changes.append((mapOffset + Int64(range.lowerBound) * 4, map[range].flatMap { littleEndian($0) }))
        }
        if allocated != old.allocated { changes.append((0x184, littleEndian(allocated))) }
        // By this uuid a child tells the image that it was made on from a copy that has changed since.
        changes.append((0x198, ImageUUID.random().bytes))
        return changes
    }
}

/// The runs of entries in which two block maps of the same length differ.
func changedRuns(_ new: [UInt32], _ old: [UInt32]) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var index = 0
    while index < new.count {
        guard new[index] != old[index] else {
            index += 1
            continue
        }
        let first = index
        while index < new.count && new[index] != old[index] { index += 1 }
        runs.append(first..<index)
    }
    return runs
}

func littleEndian(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
func littleEndian(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

extension [UInt8] {
    func u16(_ offset: Int) -> UInt16 { UInt16(self[offset]) | UInt16(self[offset + 1]) << 8 }
    func u32(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(self[offset + $1]) << ($1 * 8) } }
    func i64(_ offset: Int) -> Int64 { Int64(bitPattern: u64(offset)) }
    func u64(_ offset: Int) -> UInt64 { (0..<8).reduce(0) { $0 | UInt64(self[offset + $1]) << ($1 * 8) } }
}
