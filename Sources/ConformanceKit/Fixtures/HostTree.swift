import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Trees on the host: made from a `FixtureTree`, and looked at without following a link.
enum HostTree {
    /// Runs `body` with the path's bytes, which need not be UTF-8.
    static func withPath<Result>(_ path: String, _ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
        let bytes = (GuestPath.bytes(of: path) + [0]).map { CChar(bitPattern: $0) }
        return try bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return try "".withCString(body) }
            return try body(base)
        }
    }

    /// Makes the tree below a folder that exists; nodes are left out.
    static func make(_ tree: FixtureTree, below root: HostPath) throws {
        for entry in tree.entries { try make(entry, root) }
        // Children change their folder's time: so times and the modes of folders come last, deepest first.
        for entry in tree.entries.reversed() where entry.hardLink == nil { try finish(entry, root) }
    }

    private static func make(_ entry: FixtureTree.Entry, _ root: HostPath) throws {
        let path = root.string + entry.path.rawValue
        let status: Int32
        switch entry.kind {
        case .directory: status = withPath(path) { mkdir($0, 0o755) }
        case .symlink:
            status = withPath(path) { name in withPath(entry.target ?? "") { symlink($0, name) } }
        case .file:
            if let first = entry.hardLink {
                status = withPath(path) { name in withPath(root.string + first.rawValue) { link($0, name) } }
            } else {
                status = try write(entry, path)
            }
        default: return
        }
        guard status == 0 else { throw hostError("fixture", "cannot make \(path)") }
    }

    private static func write(_ entry: FixtureTree.Entry, _ path: String) throws -> Int32 {
        let descriptor = withPath(path) { open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600) }
        guard descriptor >= 0 else { return -1 }
        defer { close(descriptor) }
        for piece in entry.content {
            lseek(descriptor, off_t(piece.offset), SEEK_SET)
            try HostFiles.writeAll(descriptor, piece.bytes, HostPath(path))
        }
        return ftruncate(descriptor, off_t(entry.size))
    }

    private static func finish(_ entry: FixtureTree.Entry, _ root: HostPath) throws {
        let path = root.string + entry.path.rawValue
        var info = stat()
        guard withPath(path, { lstat($0, &info) }) == 0 else { return }
        if entry.kind == .file || entry.kind == .directory {
            _ = withPath(path) { chmod($0, mode_t(entry.mode)) }
        }
        let time = timespec(tv_sec: Int(entry.modifiedSeconds), tv_nsec: 0)
        _ = withPath(path) { name in
            [time, time].withUnsafeBufferPointer { utimensat(AT_FDCWD, name, $0.baseAddress, 0x100) }
        }
    }

    /// What is at a path; nil when nothing is.
    static func look(_ path: HostPath) -> HostItem? {
        var info = stat()
        guard withPath(path.string, { lstat($0, &info) }) == 0 else { return nil }
        var item = HostItem(
            kind: .file, size: Int64(info.st_size), mode: UInt32(info.st_mode) & 0o7777, uid: info.st_uid,
            gid: info.st_gid, modifiedSeconds: Int64(info.st_mtim.tv_sec), inode: UInt64(info.st_ino),
            stored: Int64(info.st_blocks) * 512)
        switch info.st_mode & S_IFMT {
        case S_IFDIR: item.kind = .directory
        case S_IFLNK: item.kind = .symlink
        case S_IFREG: item.kind = .file
        case S_IFIFO: item.kind = .fifo
        case S_IFSOCK: item.kind = .socket
        default: item.kind = .characterDevice
        }
        if item.kind == .symlink {
            var text = [CChar](repeating: 0, count: 4096)
            let count = withPath(path.string) { readlink($0, &text, text.count) }
            item.target = GuestPath.name(of: text[..<max(0, count)].map { UInt8(bitPattern: $0) })
        }
        return item
    }

    /// Names in a folder, as `GuestPath` writes them.
    static func names(_ path: HostPath) -> [String] {
        guard let directory = withPath(path.string, { opendir($0) }) else { return [] }
        defer { closedir(directory) }
        var names: [[UInt8]] = []
        while let entry = readdir(directory) {
            let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if bytes != [0x2e] && bytes != [0x2e, 0x2e] { names.append(bytes) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }.map { GuestPath.name(of: $0) }
    }

    /// The content of a file whose name need not be UTF-8.
    static func read(_ path: HostPath) throws -> [UInt8] {
        let descriptor = withPath(path.string) { open($0, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) }
        guard descriptor >= 0 else { throw hostError("fixture", "cannot read \(path)") }
        defer { close(descriptor) }
        return try HostFiles.read(HostPath("/proc/self/fd/\(descriptor)"), limit: 1 << 30)
    }
}

/// What is at a path of the host.
struct HostItem: Sendable, Hashable {
    var kind: FileKind
    var size: Int64
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
    var modifiedSeconds: Int64
    var inode: UInt64
    var stored: Int64
    var target: String?
}
