import Abstractions

/// Where the bytes of a virtual disk lie in its file. A value: a transaction changes its own copy.
protocol ImageLayout: Sendable {
    /// Bytes of the virtual disk.
    var size: Int64 { get }
    /// Where the bytes from `offset` on lie, and how many of them lie there in one piece.
    func locate(_ offset: Int64) -> (place: Place, count: Int64)
    /// Gives the bytes from `offset` on a place in the file, at its end where they had none.
    mutating func allocate(_ offset: Int64) throws -> (place: Int64, count: Int64)
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
}

/// Bytes as they are.
struct RawLayout: ImageLayout {
    let size: Int64
    var fileLength: Int64 { size }
    var mark: ImageMark? { nil }

    func locate(_ offset: Int64) -> (place: Place, count: Int64) { (.file(offset), size - offset) }
    mutating func allocate(_ offset: Int64) throws -> (place: Int64, count: Int64) { (offset, size - offset) }
    func metadataChanges(from old: RawLayout) -> [(offset: Int64, bytes: [UInt8])] { [] }
}
