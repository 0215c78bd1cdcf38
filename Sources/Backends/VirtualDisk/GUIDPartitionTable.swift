import Abstractions

/// The partitions of a GPT (UEFI specification 2.10, section 5.3).
///
/// ```
/// sector 1     header: 0 "EFI PART"  8 revision  12 header's length  16 its CRC32  24 own sector  32 the other header's
///              40 first usable  48 last usable  72 first sector of the entries  80 how many  84 length of one  88 their CRC32
/// sector 2 …   entries: 0 type (zeros: unused)  32 first sector  40 last one  56 name, 36 UTF-16 units
/// last sector  the other header, with entries of its own before it
/// ```
/// Sectors have 512 or 4096 bytes: where the header lies tells. All numbers are little-endian.
struct GUIDPartitionTable {
    /// The partitions by the number of their entry, from 1.
    private(set) var partitions: [Partition] = []
    /// What to tell when only the second header and its entries are whole.
    private(set) var warning: String?

    /// What UEFI asks for at least is 16 KiB; no tool makes more than this.
    private static let mostEntryBytes = 1 << 20

    /// - Throws: `corrupt` when neither table is whole, or the whole one says what cannot be.
    init(_ device: some BlockDevice) throws {
        var problems: [String] = []
        for sector in [512, 4096] as [Int64] where device.size >= 6 * sector {
            for place in [sector, device.size / sector * sector - sector] {
                do {
                    partitions = try GUIDPartitionTable.read(device, place, sector)
                    if let problem = problems.first {
                        warning =
                            "\(problem), so the second one at byte \(place) is used; "
                            + "`sgdisk -e` or parted writes the first one anew"
                    }
                    return
                } catch let problem as Broken {
                    // Where there is no sign of a header, the other size of sectors may say more.
                    if problem.hasSignature || problems.isEmpty { problems.append(problem.text) }
                }
            }
        }
        throw GUIDPartitionTable.corrupt(
            "the disk has a protective MBR, but no whole GPT behind it: \(problems.joined(separator: ", and "))")
    }

    /// A table that must not be used, though the other one may be.
    private struct Broken: Error {
        var text: String
        var hasSignature = true
    }

    private static func read(_ device: some BlockDevice, _ place: Int64, _ sector: Int64) throws -> [Partition] {
        let header = try device.bytes(at: place, count: 512)
        guard Array(header[0..<8]) == Array("EFI PART".utf8) else {
            throw Broken(text: "there is no GPT header at byte \(place)", hasSignature: false)
        }
        let length = Int(header.u32(12))
        guard header.u32(8) >> 16 == 1, (92...512).contains(length) else {
            throw Broken(text: "the GPT header at byte \(place) has an unknown version or length")
        }
        guard header.u32(16) == CRC32.of(header[0..<16] + [0, 0, 0, 0] + header[20..<length]) else {
            throw Broken(text: "the GPT header at byte \(place) has a wrong checksum")
        }
        guard header.u64(24) == UInt64(place / sector) else {
            throw Broken(text: "the GPT header at byte \(place) says that it lies in sector \(header.u64(24))")
        }
        let (count, size) = (Int(header.u32(80)), Int(header.u32(84)))
        guard size >= 128, size % 8 == 0, size <= mostEntryBytes, count <= mostEntryBytes / size else {
            throw corrupt("the GPT header at byte \(place) has \(count) entries of \(size) bytes")
        }
        guard header.u64(72) < UInt64(device.size / sector) else {
            throw corrupt("the GPT header at byte \(place) has its entries behind the end of the disk")
        }
        let start = header.i64(72) * sector
        guard Int64(count * size) <= device.size - start else {
            throw corrupt("the GPT header at byte \(place) has its entries behind the end of the disk")
        }
        let entries = try device.bytes(at: start, count: count * size)
        guard header.u32(88) == CRC32.of(entries) else {
            throw Broken(text: "the GPT entries at byte \(start) have a wrong checksum")
        }
        let usable = (first: header.u64(40), last: header.u64(48))
        return try (0..<count).compactMap { index in
            try partition(index + 1, Array(entries[index * size..<index * size + 128]), usable, sector)
        }
    }

    private static func partition(
        _ number: Int, _ entry: [UInt8], _ usable: (first: UInt64, last: UInt64), _ sector: Int64
    ) throws -> Partition? {
        guard entry[0..<16].contains(where: { $0 != 0 }) else { return nil }
        let (first, last) = (entry.u64(32), entry.u64(40))
        guard first <= last, first >= usable.first, last <= usable.last, last < UInt64(Int64.max / sector) else {
            throw corrupt(
                "GPT partition \(number) has sectors \(first) to \(last), usable are \(usable.first) to \(usable.last)")
        }
        let units = (0..<36).map { entry.u16(56 + 2 * $0) }.prefix { $0 != 0 }
        return Partition(
            number: number, start: Int64(first) * sector, size: Int64(last - first + 1) * sector,
            name: units.isEmpty ? nil : String(decoding: units, as: UTF16.self))
    }

    private static func corrupt(_ what: String) -> BackendError {
        BackendError(.corrupt, "disk.volumes", what, blame: .disk)
    }
}
