import Abstractions

/// The first sector of a sparse VMDK file. All numbers are little-endian, all places and sizes sectors of 512 bytes.
///
/// ```
/// 0  "KDMV"  8 flags (bit 16: compressed)  12 capacity (u64)  20 sectors of a grain (u64)
/// 44 grains of a table, 512  56 where the directory of tables lies (u64, all ones: the header's copy at the end knows)
/// 28 where the descriptor lies (u64, 0: none)  36 its length (u64)
/// ```
struct VMDKSparseHeader {
    let sectors: Int64
    let grain: Int64
    let isCompressed: Bool
    /// Where the descriptor lies, in bytes.
    let descriptor: Range<Int64>?

    private let tables: Int64
    private let directory: UInt64

    static let magic = Array("KDMV".utf8)

    /// - Throws: `corrupt`.
    init(_ file: any ImageFile) throws {
        let (path, length) = (file.path, try file.length())
        func damaged(_ what: String) -> BackendError {
            BackendError(.corrupt, "disk.open", "\(path) is no sound VMDK: \(what)", blame: .disk)
        }
        let header = try file.bytes(at: 0, count: 512)
        guard header.starts(with: VMDKSparseHeader.magic) else { throw damaged("a sparse file without signature") }
        // QEMU takes a file without capacity for a descriptor, and follows what that names.
        guard (1..<1 << 52).contains(header.u64(12)) else { throw damaged("a capacity of \(header.u64(12)) sectors") }
        sectors = header.i64(12)
        guard (8...1 << 17).contains(header.u64(20)), header.u64(20).nonzeroBitCount == 1 else {
            throw damaged("grains of \(header.u64(20)) sectors")
        }
        grain = header.i64(20) * 512
        guard (1...512).contains(header.u32(44)) else { throw damaged("tables of \(header.u32(44)) grains") }
        let covered = header.i64(20) * Int64(header.u32(44))
        tables = (sectors + covered - 1) / covered
        // The footer is a copy of the header, followed by one sector that marks the end.
        let isAtEnd = header.u64(56) == .max && length >= 1024
        directory = isAtEnd ? try file.bytes(at: length - 1024, count: 512).u64(56) : header.u64(56)
        isCompressed = header.u32(8) & 1 << 16 != 0
        let (place, count) = (header.u64(28), header.u64(36))
        guard place != 0, count != 0 else {
            descriptor = nil
            return
        }
        guard place < 1 << 40, count <= UInt64(VMDKDescriptor.longest / 512),
            Int64(place) * 512 < length
        else { throw damaged("a descriptor of \(count) sectors at sector \(place)") }
        descriptor = Int64(place) * 512..<min(length, Int64(place + count) * 512)
    }

    /// Looks whether all grains are inside the file: QEMU reads zeros, without a word, where a file was cut off.
    ///
    /// - Throws: `corrupt`.
    func checkGrains(_ file: any ImageFile) throws {
        let length = try file.length()
        func cut(_ what: String, _ sector: UInt64) -> BackendError {
            BackendError(
                .corrupt, "disk.open",
                "\(file.path) is no sound VMDK: \(what) at sector \(sector), but the file ends at byte \(length)",
                blame: .disk)
        }
        guard directory <= UInt64(length / 512), tables * 4 <= length - Int64(directory) * 512 else {
            throw cut("the directory of its grain tables", directory)
        }
        let places = try file.bytes(at: Int64(directory) * 512, count: Int(tables) * 4)
        for index in 0..<Int(tables) {
            let table = UInt64(places.u32(index * 4))
            if table == 0 { continue }
            guard table * 512 + 2048 <= UInt64(length) + 511 else { throw cut("a grain table", table) }
            let last = try file.bytes(at: Int64(table) * 512, count: 2048).withUnsafeBytes { bytes in
                bytes.bindMemory(to: UInt32.self).lazy.map { UInt32(littleEndian: $0) }.max() ?? 0
            }
            guard UInt64(last) * 512 < UInt64(length) else { throw cut("a grain", UInt64(last)) }
        }
    }
}
