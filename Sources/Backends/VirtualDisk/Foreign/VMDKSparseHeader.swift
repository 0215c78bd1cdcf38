import Abstractions

/// The first sector of a sparse VMDK file. All numbers are little-endian, all places and sizes sectors of 512 bytes.
///
/// ```
/// 0  "KDMV"  8 flags (bit 16: compressed)  12 capacity (u64)  20 sectors of a grain (u64)
/// 28 where the descriptor lies (u64, 0: none)  36 its length (u64)
/// ```
struct VMDKSparseHeader {
    let sectors: Int64
    let grain: Int64
    let isCompressed: Bool
    /// Where the descriptor lies, in bytes.
    let descriptor: Range<Int64>?

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
}
