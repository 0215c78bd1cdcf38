import Abstractions

/// Where the bytes of a virtual disk lie in its file. A value: a transaction changes its own copy.
protocol ImageLayout: Sendable {
    /// Bytes of the virtual disk.
    var size: Int64 { get }
    /// What kind of its format the image is: `fixed`, `dynamic`, `differencing`; nil when there is only one.
    var variant: String? { get }
    /// How the image and its parent are named; nil for a format that knows no chains.
    var links: LayerLinks? { get }
    /// Where the bytes from `offset` on lie, and how many of them lie there in one piece.
    ///
    /// - Throws: what the host says; `corrupt` for metadata that is read only now.
    func locate(_ offset: Int64) throws -> (place: Place, count: Int64)
    /// Gives the `count` bytes from `offset` on a place in the file, at its end where they had none; perhaps only the first of
    /// them.
    mutating func allocate(_ offset: Int64, _ count: Int64) throws -> Allocation
    /// Says that the image's file is now what this layout says.
    mutating func committed()
    /// The file's length when all that is allocated is there.
    var fileLength: Int64 { get }
    /// Bytes of the file that tell it from other images and never change; a redo log names them.
    var mark: ImageMark? { get }
    /// What of the file's own metadata differs from `old`, for the redo log.
    func metadataChanges(from old: Self) -> [(offset: Int64, bytes: [UInt8])]
}

/// Sixteen bytes at a place in an image's file that no commit changes.
struct ImageMark: Sendable, Hashable {
    var offset: Int64
    var bytes: [UInt8]
}

/// Where bytes lie.
enum Place: Sendable, Hashable {
    /// In the file, from this offset on.
    case file(Int64)
    /// Nowhere: they are zero.
    case zero
    /// In the image's parent; they are zero when it has none or is shorter.
    case parent
}

/// A place that bytes of the disk have got in the file.
struct Allocation: Sendable {
    /// Where the first byte lies.
    var place: Int64
    /// How many bytes lie there in one piece.
    var count: Int64
    /// Those bytes and their neighbours that have a place only now: what is not written over must be given its old content.
    var filling: Filling?
}

/// A part of the disk whose place in the file does not hold its content yet.
struct Filling: Sendable {
    /// The part of the disk.
    var range: Range<Int64>
    /// What must be added to an offset on the disk to get the offset in the file.
    var shift: Int64
    /// Whether the place reads as zero now.
    var isHole: Bool
}

/// Bytes as they are.
struct RawLayout: ImageLayout {
    let size: Int64
    var fileLength: Int64 { size }
    var variant: String? { nil }
    var links: LayerLinks? { nil }
    var mark: ImageMark? { nil }

    init(_ file: any ImageFile) throws {
        size = try file.length()
        guard size > 0 else {
            throw BackendError(.corrupt, "disk.open", "image \(file.path) is empty", blame: .disk)
        }
    }

    func locate(_ offset: Int64) -> (place: Place, count: Int64) { (.file(offset), size - offset) }
    mutating func allocate(_ offset: Int64, _ count: Int64) -> Allocation { Allocation(place: offset, count: count) }
    mutating func committed() {}
    func metadataChanges(from old: RawLayout) -> [(offset: Int64, bytes: [UInt8])] { [] }
}
