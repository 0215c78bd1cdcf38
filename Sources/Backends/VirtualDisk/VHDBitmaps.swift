import Synchronization

/// The sector bitmaps of a VHD as they lay in its file when it was opened.
///
/// They are read when they are asked for, and few are kept: those of a large disk would be hundreds of megabytes.
final class VHDBitmaps: Sendable {
    private static let mostBytes = 4 << 20

    private let file: any ImageFile
    private let blockSize: Int64
    /// An empty one: every sector is there.
    private let known = Mutex<(bitmaps: [Int: [UInt8]], bytes: Int)>(([:], 0))

    init(_ file: any ImageFile, blockSize: Int64) {
        self.file = file
        self.blockSize = blockSize
    }

    /// Which sectors of a block are there; empty when all are.
    func bitmap(_ block: Int, at place: Int64) throws -> [UInt8] {
        try known.withLock { known in
            if let bitmap = known.bitmaps[block] { return bitmap }
            var bitmap = try file.bytes(at: place, count: Int(VHDLayout.bitmapSize(blockSize)))
            if isWhole(bitmap) { bitmap = [] }
            if known.bytes > VHDBitmaps.mostBytes { known = ([:], 0) }
            known.bitmaps[block] = bitmap
            known.bytes += bitmap.count + 64
            return bitmap
        }
    }

    /// Whether every sector is there.
    func isWhole(_ bitmap: [UInt8]) -> Bool {
        bitmap.prefix(Int(blockSize / VHDLayout.sector / 8)).allSatisfy { $0 == 0xff }
    }

    /// Whether a sector is there, and where the run of sectors ends for which it is the same; at most `limit`.
    static func run(_ bitmap: [UInt8], _ sector: Int64, _ limit: Int64) -> (isSet: Bool, end: Int64) {
        func isSet(_ sector: Int64) -> Bool { bitmap[Int(sector / 8)] & 0x80 >> UInt8(sector % 8) != 0 }
        let first = isSet(sector)
        var end = sector + 1
        while end < limit {
            if end % 8 == 0, end + 8 <= limit, bitmap[Int(end / 8)] == (first ? 0xff : 0) {
                end += 8
            } else if isSet(end) == first {
                end += 1
            } else {
                break
            }
        }
        return (first, end)
    }
}
