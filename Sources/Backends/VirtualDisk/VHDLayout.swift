import Abstractions

/// A dynamic or differencing VHD, one layer of a chain.
///
/// ```
/// footer (copy) | header | block table | names of the parent | block | block | … | footer
/// block: one bit a sector, the first in the highest bit, filled up to 512 bytes | the sectors
/// ```
/// Table: one u32 a block, the sector of the file where it begins; 0xffffffff has no block. Where there is no block, or the bit of a
/// sector is 0, a differencing image asks its parent and a dynamic one is zero. New blocks go behind the footer, which stays
/// where it is until the commit has a new one at the new end: the committed state is whole at every moment. Source: Microsoft,
/// Virtual Hard Disk Image Format Specification 1.0.
struct VHDLayout: ImageLayout {
    static let unused: UInt32 = 0xffff_ffff
    static let sector: Int64 = 512

    let size: Int64
    let footer: VHDFooter
    let blockSize: Int64
    let tableOffset: Int64
    let links: LayerLinks?
    let bitmaps: VHDBitmaps
    var table: [UInt32]
    /// The bitmaps that differ from what lay in the file when it was opened.
    var changed: [Int: [UInt8]] = [:]
    /// Where the footer belongs.
    var footerOffset: Int64
    /// What the committed state reaches up to.
    var committedEnd: Int64

    var isDifferencing: Bool { footer.kind == .differencing }
    var variant: String? { isDifferencing ? "differencing" : "dynamic" }
    var mark: ImageMark? { ImageMark(offset: 68, bytes: Array(footer.bytes[68..<84])) }
    var fileLength: Int64 { footerOffset + VHDFooter.length }
    var bitmapSize: Int64 { VHDLayout.bitmapSize(blockSize) }

    static func bitmapSize(_ blockSize: Int64) -> Int64 { (blockSize / sector / 8 + sector - 1) / sector * sector }

    private var missing: Place { isDifferencing ? .parent : .zero }

    func locate(_ offset: Int64) throws -> (place: Place, count: Int64) {
        let block = Int(offset / blockSize)
        let inside = offset % blockSize
        let count = min(blockSize - inside, size - offset)
        guard table[block] != VHDLayout.unused else { return (missing, count) }
        let file = Place.file(place(of: block) + bitmapSize + inside)
        let bitmap = try bitmap(block)
        guard !bitmap.isEmpty else { return (file, count) }
        let run = VHDBitmaps.run(bitmap, inside / VHDLayout.sector, blockSize / VHDLayout.sector)
        return (run.isSet ? file : missing, min(count, run.end * VHDLayout.sector - inside))
    }

    private func place(of block: Int) -> Int64 { Int64(table[block]) * VHDLayout.sector }

    /// Which sectors of a block are there; empty when all are.
    private func bitmap(_ block: Int) throws -> [UInt8] {
        try changed[block] ?? bitmaps.bitmap(block, at: place(of: block))
    }

    mutating func allocate(_ offset: Int64, _ count: Int64) throws -> Allocation {
        let block = Int(offset / blockSize)
        let start = Int64(block) * blockSize
        let end = min(start + blockSize, size)
        guard table[block] == VHDLayout.unused else { return try allocate(offset, min(count, end - offset), in: block) }
        let place = (max(footerOffset, committedEnd) + VHDLayout.sector - 1) / VHDLayout.sector * VHDLayout.sector
        guard let entry = UInt32(exactly: place / VHDLayout.sector), entry != VHDLayout.unused else {
            throw BackendError(.noSpace, "disk.write", "a VHD's file cannot be larger than 2 TiB", blame: .disk)
        }
        table[block] = entry
        changed[block] = []
        footerOffset = place + bitmapSize + blockSize
        let shift = place + bitmapSize - start
        return Allocation(
            place: offset + shift, count: min(count, end - offset),
            filling: Filling(range: start..<end, shift: shift, isHole: true))
    }

    /// Gives bytes of a block that is there the sectors that are not.
    private mutating func allocate(_ offset: Int64, _ count: Int64, in block: Int) throws -> Allocation {
        let start = Int64(block) * blockSize
        let shift = place(of: block) + bitmapSize - start
        var bitmap = try bitmap(block)
        guard !bitmap.isEmpty else { return Allocation(place: offset + shift, count: count) }
        let inside = offset - start
        let last = (inside + count + VHDLayout.sector - 1) / VHDLayout.sector
        let run = VHDBitmaps.run(bitmap, inside / VHDLayout.sector, last)
        let most = min(count, run.end * VHDLayout.sector - inside)
        guard !run.isSet else { return Allocation(place: offset + shift, count: most) }
        let first = inside / VHDLayout.sector
        for sector in first..<run.end { bitmap[Int(sector / 8)] |= 0x80 >> UInt8(sector % 8) }
        changed[block] = bitmaps.isWhole(bitmap) ? [] : bitmap
        let filled = start + first * VHDLayout.sector..<min(start + run.end * VHDLayout.sector, size)
        return Allocation(
            place: offset + shift, count: most, filling: Filling(range: filled, shift: shift, isHole: false))
    }

    mutating func committed() { committedEnd = fileLength }

    func metadataChanges(from old: VHDLayout) -> [(offset: Int64, bytes: [UInt8])] {
        var changes: [(offset: Int64, bytes: [UInt8])] = []
        for range in changedRuns(table, old.table) {
            changes.append((tableOffset + Int64(range.lowerBound) * 4, table[range].flatMap { bigEndian($0) }))
        }
        for (block, bitmap) in changed.sorted(by: { $0.key < $1.key }) where old.changed[block] != bitmap {
            let whole = [UInt8](repeating: 0xff, count: Int(bitmapSize))
            changes.append((place(of: block), bitmap.isEmpty ? whole : bitmap))
        }
        if footerOffset != old.footerOffset { changes.append((footerOffset, footer.bytes)) }
        return changes
    }
}
