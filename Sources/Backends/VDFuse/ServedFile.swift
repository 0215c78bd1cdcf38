import Abstractions

/// A file in the server's folder: the whole disk or one partition of it.
struct ServedFile: Sendable, Codable, Hashable {
    /// `EntireDisk`, `Partition1` …
    var name: String
    /// Which volume it is; nil for a whole disk that has a partition table.
    var volume: Volume?
    /// Its first byte on the disk.
    var offset: Int64
    /// Its size in bytes.
    var size: Int64
    /// Why its file system must not be mounted; nil when it may.
    var objection: BackendError?
}
