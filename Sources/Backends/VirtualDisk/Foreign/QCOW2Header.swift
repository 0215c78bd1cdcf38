import Abstractions

/// What a qcow2 image says about itself and other files (QEMU's docs/interop/qcow2.txt). All numbers are big-endian.
///
/// ```
/// 0   "QFI\xfb"     4  version 2 or 3     8  where the backing file's name lies (u64)   16 its length
/// 20  cluster bits  24 bytes of the disk (u64)      32 encryption (0: none)     60 internal snapshots
/// 36  entries in the L1 table  40 where it lies (u64)   48 where the refcount table lies (u64)  56 its clusters
/// 96  refcounts have 2 to the power of this many bits (version 3; 16 bits in version 2)
/// 72  incompatible features (u64, version 3)        100 length of the header (version 3)
/// then extensions until type 0: type (u32), length (u32), data, padded to 8
/// ```
struct QCOW2Header {
    let size: Int64
    /// The name of its backing file as it stands there, and the format.
    private(set) var backing: (name: String, format: String?)?
    let isMarkedCorrupt: Bool
    /// Whether the last cluster that is counted lies behind the end of the file, which QEMU reads as zero without a word: the
    /// file is cut off, or a crash has lost the cluster.
    private(set) var mayBeCut = false

    private static let backingFormat: UInt32 = 0xe279_2aca

    /// - Throws: `corrupt`, `unsupported` for an external data file or encryption.
    init(_ file: any ImageFile) throws {
        let (path, length) = (file.path, try file.length())
        func damaged(_ what: String) -> BackendError {
            BackendError(.corrupt, "disk.open", "\(path) is no sound qcow2 image: \(what)", blame: .disk)
        }
        let header = try file.bytes(at: 0, count: 4096)
        guard header.starts(with: [0x51, 0x46, 0x49, 0xfb]) else { throw damaged("its header has no signature") }
        let version = header.big32(4)
        guard version == 2 || version == 3 else { throw damaged("version \(version) instead of 2 or 3") }
        guard header.big64(24) <= UInt64(Int64.max - 511) else { throw damaged("a size of \(header.big64(24)) bytes") }
        size = Int64(header.big64(24))
        let incompatible = version == 3 ? header.big64(72) : 0
        isMarkedCorrupt = incompatible & 2 != 0
        guard incompatible & 4 == 0 else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(path) keeps its data in another file, which is not followed; `qemu-img convert` makes one file of it",
                blame: .caller)
        }
        guard header.big32(32) == 0 else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(path) is encrypted; `qemu-img convert` with its secret makes a plain image",
                blame: .caller)
        }
        if let problem = try checkEnd(file, header, version) { throw damaged(problem) }
        let (place, count) = (header.big64(8), Int(header.big32(16)))
        guard place != 0 else { return }
        guard (1...1023).contains(count), place <= UInt64(length), Int64(count) <= length - Int64(place) else {
            throw damaged("the name of its backing file lies at byte \(place) and has \(count) bytes")
        }
        let bytes = try file.bytes(at: Int64(place), count: count)
        guard let name = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw damaged("the name of its backing file is no text")
        }
        backing = (name, QCOW2Header.format(in: header, from: version == 3 ? Int(header.big32(100)) : 72))
    }

    /// Looks whether the tables are inside the file, and what is counted; the reason why not.
    private mutating func checkEnd(_ file: any ImageFile, _ header: [UInt8], _ version: UInt32) throws -> String? {
        let (bits, length) = (Int(header.big32(20)), UInt64(try file.length()))
        guard (9...21).contains(bits) else { return "clusters of 2^\(bits) bytes" }
        let order = version == 3 ? header.big32(96) : 4
        guard order <= 6 else { return "refcounts of 2^\(order) bits" }
        // QEMU's own limits: 32 MiB for the L1 table, 8 MiB for the refcount table.
        let (entries, first) = (UInt64(header.big32(36)), header.big64(40))
        guard entries <= 4 << 20, first <= length, entries * 8 <= length - first else {
            return "an L1 table of \(entries) entries at byte \(first) of \(length)"
        }
        let (clusters, table) = (UInt64(header.big32(56)), header.big64(48))
        let tableBytes = clusters << UInt64(bits)
        guard tableBytes <= 8 << 20, table <= length, tableBytes <= length - table else {
            return "a refcount table of \(clusters) clusters at byte \(table) of \(length)"
        }
        let blocks = try file.bytes(at: Int64(table), count: Int(tableBytes))
        let count = blocks.count / 8
        guard let last = (0..<count).last(where: { blocks.big64($0 * 8) != 0 }) else { return nil }
        let block = blocks.big64(last * 8) & ~0x1ff
        guard block < length else { return "a refcount block at byte \(block) of \(length)" }
        let counts = try file.bytes(at: Int64(block), count: 1 << bits)
        guard let byte = counts.lastIndex(where: { $0 != 0 }) else { return nil }
        let perBlock = UInt64(8 << bits) >> UInt64(order)
        let cluster = UInt64(last) * perBlock + UInt64(byte * 8) >> UInt64(order)
        mayBeCut = cluster >= (length + 1 << UInt64(bits) - 1) >> UInt64(bits)
        return nil
    }

    /// The extension that names the backing file's format; nil when there is none within the first page.
    private static func format(in header: [UInt8], from start: Int) -> String? {
        var at = start
        while at >= 72, at + 8 <= header.count {
            let (type, count) = (header.big32(at), Int(header.big32(at + 4)))
            guard type != 0, count <= header.count - at - 8 else { return nil }
            if type == backingFormat { return String(validating: header[at + 8..<at + 8 + count], as: UTF8.self) }
            at += 8 + (count + 7) / 8 * 8
        }
        return nil
    }
}

extension [UInt8] {
    func big32(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 << 8 | UInt32(self[offset + $1]) } }
    func big64(_ offset: Int) -> UInt64 { (0..<8).reduce(0) { $0 << 8 | UInt64(self[offset + $1]) } }
}
