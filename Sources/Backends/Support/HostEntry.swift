import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Something in a tree of this host.
public struct HostEntry: Sendable, Hashable {
    /// Its name by `GuestPath`'s rule for bytes; for the top of the tree the last component of its path.
    public var name: String
    /// What it is.
    public var stat: FileStat
    /// Which file it is; equal for two hard links.
    public var identity: FileIdentity
    /// What it takes on the host's disk: less than its size when it has holes.
    public var allocatedBytes: Int64

    /// Describes something that another source than this host tells of.
    package init(name: String, stat: FileStat, identity: FileIdentity, allocatedBytes: Int64) {
        self.name = name
        self.stat = stat
        self.identity = identity
        self.allocatedBytes = allocatedBytes
    }

    /// The entry of this name in an open folder; nil when nothing is there (any more).
    package static func read(_ name: String, below folder: Int32) throws -> HostEntry? {
        guard let info = try HostNames.status(folder, name) else { return nil }
        var entry = HostEntry(
            name: name, stat: FileStat(info),
            identity: FileIdentity(device: UInt64(info.st_dev), inode: UInt64(info.st_ino)),
            allocatedBytes: Int64(info.st_blocks) * 512)
        if entry.stat.kind == .symlink {
            var text = [CChar](repeating: 0, count: 4096)
            let count = HostNames.withCString(name) { readlinkat(folder, $0, &text, text.count) }
            guard count >= 0 else { throw hostError("host.read", "cannot read link \(name)") }
            entry.stat.target = GuestPath.name(of: text[..<count].map { UInt8(bitPattern: $0) })
        }
        return entry
    }
}

extension FileStat {
    /// What the host says about a file; a link's text is left out.
    public init(_ info: stat) {
        let kind: FileKind =
            switch info.st_mode & S_IFMT {
            case S_IFDIR: .directory
            case S_IFLNK: .symlink
            case S_IFBLK: .blockDevice
            case S_IFCHR: .characterDevice
            case S_IFIFO: .fifo
            case S_IFSOCK: .socket
            default: .file
            }
        self.init(
            kind: kind, size: ByteCount(Int64(info.st_size)), mode: UInt32(info.st_mode) & 0o7777, uid: info.st_uid,
            gid: info.st_gid,
            modifiedNanoseconds: FileStat.nanoseconds(
                seconds: Int64(info.st_mtim.tv_sec), rest: Int64(info.st_mtim.tv_nsec)),
            links: Int(info.st_nlink))
    }
}
