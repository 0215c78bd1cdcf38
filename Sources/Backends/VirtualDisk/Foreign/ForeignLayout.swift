import Abstractions

/// The content of an image that QEMU reads and writes: bytes as they are, with a mark.
///
/// The headers of these formats have nothing that tells one image from another and never changes. So the mark of a redo log is
/// the content's: the name of the disk or of its file system.
struct ForeignLayout: ImageLayout {
    let size: Int64
    let mark: ImageMark?
    var fileLength: Int64 { size }
    var variant: String? { nil }
    var links: LayerLinks? { nil }

    init(_ file: any ImageFile) throws {
        size = try file.length()
        guard size > 0 else {
            throw BackendError(.corrupt, "disk.open", "image \(file.path) is empty", blame: .disk)
        }
        mark = try ForeignLayout.findMark(file, size)
    }

    func locate(_ offset: Int64) -> (place: Place, count: Int64) { (.file(offset), size - offset) }
    mutating func allocate(_ offset: Int64, _ count: Int64) -> Allocation { Allocation(place: offset, count: count) }
    mutating func committed() {}
    func metadataChanges(from old: ForeignLayout) -> [(offset: Int64, bytes: [UInt8])] { [] }

    private static func findMark(_ file: any ImageFile, _ size: Int64) throws -> ImageMark? {
        // The GUID of a GPT, the number of an MBR with its first entry, the UUID of an ext file system.
        for (offset, sign, place) in [
            (512, Array("EFI PART".utf8), 512 + 56), (510, [0x55, 0xaa], 440),
            (1024 + 0x38, [0x53, 0xef], 1024 + 0x68),
        ] as [(Int64, [UInt8], Int64)] where place + 16 <= size {
            guard try file.bytes(at: offset, count: sign.count) == sign else { continue }
            let bytes = try file.bytes(at: place, count: 16)
            if bytes.contains(where: { $0 != 0 }) { return ImageMark(offset: place, bytes: bytes) }
        }
        return nil
    }
}
