import Abstractions

/// The primary partitions in a disk's first sector.
///
/// ```
/// 446  four entries of 16 bytes: 0 flags (0 or 0x80)  4 type  8 first sector (u32)  12 sectors (u32)
/// 510  0x55 0xaa
/// ```
/// Sectors have 512 bytes.
struct MasterBootRecord {
    /// The partitions that hold something, without extended ones.
    private(set) var partitions: [Partition] = []
    /// The places of logical partitions.
    private(set) var extended: [Partition] = []
    /// Whether the table only keeps old tools away from a GPT.
    private(set) var protectsGPT = false
    private var hasOddFlags = false

    /// nil when the sector has no table.
    init?(_ device: some BlockDevice) throws {
        guard device.size >= 512 else { return nil }
        let sector = try device.bytes(at: 0, count: 512)
        guard sector[510] == 0x55, sector[511] == 0xaa else { return nil }
        for number in 1...4 {
            let entry = Array(sector[(446 + 16 * (number - 1))..<(446 + 16 * number)])
            let (type, start, size) = (entry[4], Int64(entry.u32(8)) * 512, Int64(entry.u32(12)) * 512)
            if entry[0] & 0x7f != 0 { hasOddFlags = true }
            guard type != 0, size > 0, entry[0] & 0x7f == 0 else { continue }
            if type == 0xee { protectsGPT = true }
            let partition = Partition(number: number, start: start, size: size)
            if MasterBootRecord.isExtended(type) { extended.append(partition) } else { partitions.append(partition) }
        }
    }

    /// Whether a type names a place of logical partitions: of DOS, of Windows, of Linux.
    static func isExtended(_ type: UInt8) -> Bool { [0x05, 0x0f, 0x85].contains(type) }

    /// Whether it can be nothing but a partition table.
    func isSound(in size: Int64) -> Bool {
        let all = partitions + extended
        return !hasOddFlags && (protectsGPT || !all.isEmpty && all.allSatisfy { $0.isInside(size) })
    }
}
