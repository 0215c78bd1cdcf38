import Abstractions

/// A file, folder, link or device of a `MemoryTree`.
struct MemoryNode: Sendable {
    /// Everything but size, links and target, which follow from the rest.
    var stat: FileStat
    var content = MemoryContent()
    /// Children by the bytes of their names: `String` would take two spellings of one letter for the same name.
    var entries: [[UInt8]: Int] = [:]
    var links = 1

    init(_ kind: FileKind, mode: UInt32, uid: UInt32 = 0, gid: UInt32 = 0, modified: Int64 = 0, target: String? = nil) {
        stat = FileStat(
            kind: kind, size: ByteCount(0), mode: mode, uid: uid, gid: gid, modifiedNanoseconds: modified,
            target: target)
    }

    /// What `stat` answers.
    var fullStat: FileStat {
        var full = stat
        full.links = links
        switch stat.kind {
        case .file: full.size = ByteCount(content.size)
        case .symlink: full.size = ByteCount(Int64(GuestPath.bytes(of: stat.target ?? "").count))
        default: full.size = ByteCount(Int64(entries.count))
        }
        return full
    }
}
