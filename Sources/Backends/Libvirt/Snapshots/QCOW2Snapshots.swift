import Abstractions
import BackendSupport
import Host

/// The snapshots inside a qcow2 image, read from its header and tables.
///
/// ```
/// header  36 l1_size   40 l1_table_offset   60 nb_snapshots   64 snapshots_offset      (big endian)
/// entry    0 l1_table_offset   8 l1_size   12 id_size   14 name_size   36 extra_size   40 extra, id, name; to 8 bytes
/// ```
/// Source: QEMU, docs/interop/qcow2.txt. A snapshot has a first-level table of its own, and tables of the second level that both
/// use are never changed in place, so that the disk is what the snapshot holds when the first-level entries of its guest part
/// are equal but for their flags.
struct QCOW2Snapshots {
    private struct Entry {
        var tag: String
        var tableOffset: Int64
        var tableSize: Int
    }
    private let file: HostPath
    private let entries: [Entry]
    private let tableOffset: Int64
    private let tableSize: Int
    /// How many entries of the first level the guest's disk has; behind them lies the memory of a snapshot.
    private let guestEntries: Int

    /// Reads the tables.
    ///
    /// - Throws: what the host says, `corrupt` for an image whose tables cannot be.
    init(_ file: HostPath) throws {
        self.file = file
        let reader = try TableReader(file)
        let header = try reader.read(at: 0, count: 72)
        guard header.starts(with: [0x51, 0x46, 0x49, 0xfb]) else { throw reader.corrupt("it is not a qcow2 image") }
        let clusterBits = header.bigEndian(20, 4)
        guard (9...21).contains(clusterBits) else { throw reader.corrupt("its cluster size is impossible") }
        // A table of the second level fills one cluster with entries of 8 bytes, or of 16 with extended ones (feature bit 4).
        let features = header.bigEndian(4, 4) >= 3 ? try reader.read(at: 72, count: 8).bigEndian(0, 8) : 0
        let covered = 2 * clusterBits - (features & 16 != 0 ? 4 : 3)
        let size = header.bigEndian(24, 8)
        // No file of Linux's is larger than 8 EiB less a byte; half of that leaves room to round up.
        guard (0...1 << 62).contains(size) else { throw reader.corrupt("its size is impossible") }
        guestEntries = Int((size + (1 << covered) - 1) >> covered)
        tableSize = Int(header.bigEndian(36, 4))
        tableOffset = header.bigEndian(40, 8)
        let count = header.bigEndian(60, 4)
        // QEMU's own limits.
        guard count <= 65536, tableSize <= 4 << 20, guestEntries <= tableSize else {
            throw reader.corrupt("its tables are too large")
        }
        var entries: [Entry] = []
        var place = header.bigEndian(64, 8)
        for _ in 0..<count {
            let fixed = try reader.read(at: place, count: 40)
            let (extra, id, name) = (fixed.bigEndian(36, 4), fixed.bigEndian(12, 2), fixed.bigEndian(14, 2))
            guard extra <= 1024, fixed.bigEndian(8, 4) <= 4 << 20 else {
                throw reader.corrupt("a snapshot is too large")
            }
            let tag = try reader.read(at: place + 40 + extra + id, count: Int(name))
            entries.append(
                Entry(
                    tag: String(decoding: tag, as: UTF8.self), tableOffset: fixed.bigEndian(0, 8),
                    tableSize: Int(fixed.bigEndian(8, 4))))
            place = (place + 40 + extra + id + name + 7) & ~7
        }
        self.entries = entries
    }

    /// The names of all snapshots.
    var tags: [String] { entries.map(\.tag) }

    func contains(_ tag: String) -> Bool { tags.contains(tag) }

    /// How many parts of the disk's block map are not those of a snapshot; nil when there is no such snapshot.
    ///
    /// - Throws: what the host says.
    func changedParts(since tag: String) throws -> Int? {
        guard let entry = entries.first(where: { $0.tag == tag }) else { return nil }
        let reader = try TableReader(file)
        let now = try reader.read(at: tableOffset, count: guestEntries * 8)
        let then = try reader.read(at: entry.tableOffset, count: min(guestEntries, entry.tableSize) * 8)
        // Bit 63 says whether the table is this one's alone.
        func part(_ table: [UInt8], _ index: Int) -> Int64 {
            index * 8 < table.count ? table.bigEndian(index * 8, 8) & ~(1 << 63) : 0
        }
        return (0..<guestEntries).count { part(now, $0) != part(then, $0) }
    }
}
