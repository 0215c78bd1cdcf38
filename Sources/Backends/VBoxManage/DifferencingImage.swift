import Abstractions
import BackendSupport
import Host

/// A layer that VirtualBox made over what a snapshot holds, for what the guest writes from then on.
///
/// ```
/// VDI    0x40 0xbeda107f   0x184 blocks in the file                                               (little endian)
/// VMDK   0 "KDMV"   12 size, 20 grain, both in sectors   44 grains a table   56 directory's sector   (little endian)
/// VHD    0 "conectix"   16 header: 0 "cxsparse"   16 table   28 its entries, 0xffffffff: no block    (big endian)
/// ```
/// Sources: VirtualBox, VDICore.h; VMware, Virtual Disk Format 1.1; Microsoft, Virtual Hard Disk Image Format Specification.
enum DifferencingImage {
    /// How many blocks it has of its own; none when it is what lies below.
    ///
    /// - Throws: `unsupported` for another format, `corrupt` for tables that cannot be, what the host says.
    static func blocks(in file: HostPath) throws -> Int {
        let reader = try TableReader(file)
        let head = try reader.read(at: 0, count: 512)
        if head.littleEndian(0x40, 4) == 0xbeda_107f { return Int(head.littleEndian(0x184, 4)) }
        if head.starts(with: "KDMV".utf8) { return try grains(reader, head) }
        if head.starts(with: "conectix".utf8) { return try entries(reader, head) }
        throw BackendError(
            .unsupported, "snapshots", "disk \(file) has a format whose blocks are not known", blame: .backend)
    }

    private static func grains(_ reader: TableReader, _ head: [UInt8]) throws -> Int {
        let (size, grain, perTable) = (head.littleEndian(12, 8), head.littleEndian(20, 8), head.littleEndian(44, 4))
        let directory = head.littleEndian(56, 8)
        guard (1...1 << 20).contains(grain), (1...65536).contains(perTable), (0...1 << 43).contains(size),
            (0...1 << 43).contains(directory)
        else { throw reader.corrupt("its header is impossible") }
        let tables = Int((size + grain * perTable - 1) / (grain * perTable))
        guard tables <= 16 << 20 else { throw reader.corrupt("its tables are too large") }
        let places = try reader.read(at: directory * 512, count: tables * 4)
        return try (0..<tables).reduce(0) { found, table in
            let place = places.littleEndian(table * 4, 4)
            guard place > 0 else { return found }
            let entries = try reader.read(at: place * 512, count: Int(perTable) * 4)
            return found + (0..<Int(perTable)).count { entries.littleEndian($0 * 4, 4) != 0 }
        }
    }

    private static func entries(_ reader: TableReader, _ head: [UInt8]) throws -> Int {
        let header = try reader.read(at: head.bigEndian(16, 8), count: 512)
        let count = Int(header.bigEndian(28, 4))
        guard header.starts(with: "cxsparse".utf8), count <= 16 << 20 else {
            throw reader.corrupt("its header is impossible")
        }
        let table = try reader.read(at: header.bigEndian(16, 8), count: count * 4)
        return (0..<count).count { table.bigEndian($0 * 4, 4) != 0xffff_ffff }
    }
}
