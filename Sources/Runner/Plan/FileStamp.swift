import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// What changes when somebody writes to a file: size, inode and times. Not a hash: an image has gigabytes.
struct FileStamp: Sendable, Hashable, CustomStringConvertible {
    private let size: Int64
    private let inode: UInt64
    private let modified: Int64
    private let changed: Int64

    init?(_ path: HostPath) {
        var info = stat()
        guard stat(path.string, &info) == 0 else { return nil }
        size = Int64(info.st_size)
        inode = UInt64(info.st_ino)
        modified = FileStat.nanoseconds(seconds: Int64(info.st_mtim.tv_sec), rest: Int64(info.st_mtim.tv_nsec))
        changed = FileStat.nanoseconds(seconds: Int64(info.st_ctim.tv_sec), rest: Int64(info.st_ctim.tv_nsec))
    }

    var description: String { "\(size) bytes, changed \(modified)" }

    /// Whether the content may differ. A change of the inode alone (a new link, another owner) is none.
    func differs(from other: FileStamp) -> Bool {
        size != other.size || modified != other.modified || inode != other.inode
    }
}
