import Abstractions
import BackendSupport
import CGuestfs
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The files of the mounted volume, through the appliance. One thread at a time.
struct ApplianceTree {
    let guest: GuestHandle

    init(_ guest: GuestHandle) { self.guest = guest }

    // MARK: - Reading

    /// What is at the path; the inode tells hard links.
    func entry(_ path: GuestPath) throws -> HostEntry {
        let found = try withPath(path) { text in
            try guest.check(guestfs_lstatns(guest.pointer, text), "stat", "\(path)")
        }
        defer { guestfs_free_statns(found) }
        var entry = ApplianceTree.entry(path.name, found.pointee)
        if entry.stat.kind == .symlink {
            let target = try withPath(path) { text in
                try guest.check(guestfs_readlink(guest.pointer, text), "stat", "cannot read link \(path)")
            }
            entry.stat.target = ApplianceTree.text(target)
            free(target)
        }
        return entry
    }

    func list(_ path: GuestPath, after: String?) throws -> DirectoryPage {
        guard try entry(path).stat.kind == .directory else {
            throw BackendError(.invalidArgument, "list", "\(path) is not a folder")
        }
        var names = try names(in: path)
        if let after {
            let start = GuestPath.bytes(of: after)
            names.removeAll { !start.lexicographicallyPrecedes(GuestPath.bytes(of: $0)) }
        }
        let page = Array(names.prefix(1000))
        let entries = try entries(page, in: path).map { DirectoryEntry(name: $0.name, stat: $0.stat) }
        return DirectoryPage(entries: entries, next: names.count > 1000 ? page.last : nil)
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) throws -> [UInt8] {
        guard offset >= 0, count >= 0 else {
            throw BackendError(.invalidArgument, "read", "a negative offset or count")
        }
        let stat = try entry(path).stat
        guard stat.kind == .file else {
            throw BackendError(.invalidArgument, "read", "\(path) is not a regular file")
        }
        let wanted = Int(min(Int64(min(count, 512 << 10)), max(0, stat.size.bytes - offset)))
        guard wanted > 0 else { return [] }
        return try withContent(path, offset: offset, count: wanted) { Array($0) }
    }

    /// The names in a folder, sorted by their bytes, without `.` and `..`.
    func names(in path: GuestPath) throws -> [String] {
        let found = try withPath(path) { text in
            try guest.check(guestfs_readdir(guest.pointer, text), "list", "cannot list \(path)")
        }
        defer { guestfs_free_dirent_list(found) }
        var names: [[UInt8]] = []
        for index in 0..<Int(found.pointee.len) {
            guard let name = found.pointee.val[index].name else { continue }
            let bytes = ApplianceTree.bytes(name)
            if bytes != [0x2e] && bytes != [0x2e, 0x2e] { names.append(bytes) }
        }
        names.sort { $0.lexicographicallyPrecedes($1) }
        return names.map { GuestPath.name(of: $0) }
    }

    /// What the names in a folder are, with few calls however many there are.
    func entries(_ names: [String], in path: GuestPath) throws -> [HostEntry] {
        guard !names.isEmpty else { return [] }
        let found = try withPath(path) { text in
            try withStrings(names) { list in
                try guest.check(guestfs_lstatnslist(guest.pointer, text, list), "list", "cannot look into \(path)")
            }
        }
        defer { guestfs_free_statns_list(found) }
        var entries: [HostEntry] = []
        for (index, name) in names.enumerated() where index < Int(found.pointee.len) {
            let stat = found.pointee.val[index]
            // The library marks a name that vanished with an inode of -1.
            if stat.st_ino >= 0 { entries.append(ApplianceTree.entry(name, stat)) }
        }
        return try addTargets(entries, in: path)
    }

    private func addTargets(_ entries: [HostEntry], in path: GuestPath) throws -> [HostEntry] {
        var entries = entries
        let links = entries.indices.filter { entries[$0].stat.kind == .symlink }
        guard !links.isEmpty else { return entries }
        let targets = try withPath(path) { text in
            try withStrings(links.map { entries[$0].name }) { list in
                try guest.check(guestfs_readlinklist(guest.pointer, text, list), "list", "cannot read links in \(path)")
            }
        }
        defer { free(targets) }
        for (position, index) in links.enumerated() {
            guard let target = targets[position] else { break }
            entries[index].stat.target = ApplianceTree.text(target)
        }
        var position = 0
        while let target = targets[position] {
            free(target)
            position += 1
        }
        return entries
    }

    /// Hands out bytes of a regular file; fewer only at its end.
    func withContent<Result>(
        _ path: GuestPath, offset: Int64, count: Int, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) throws -> Result {
        var size = 0
        let bytes = try withPath(path) { text in
            try guest.check(
                guestfs_pread(guest.pointer, text, Int32(count), offset, &size), "read", "cannot read \(path)")
        }
        defer { free(bytes) }
        return try body(UnsafeRawBufferPointer(start: bytes, count: size))
    }

    // MARK: - Parts

    /// Runs `body` with the path's bytes.
    ///
    /// - Throws: `invalidArgument` for a text that C would cut short, what `body` throws.
    func withPath<Result>(_ path: GuestPath, _ body: (UnsafePointer<CChar>) throws -> Result) throws -> Result {
        try ApplianceTree.withText(path.rawValue, body)
    }

    static func withText<Result>(_ text: String, _ body: (UnsafePointer<CChar>) throws -> Result) throws -> Result {
        guard !text.utf8.contains(0) else {
            throw BackendError(.invalidArgument, "libguestfs", "a path with a zero byte")
        }
        return try HostNames.withCString(text, body)
    }

    static func entry(_ name: String, _ found: guestfs_statns) -> HostEntry {
        let kind: FileKind =
            switch UInt32(truncatingIfNeeded: found.st_mode) & S_IFMT {
            case S_IFDIR: .directory
            case S_IFLNK: .symlink
            case S_IFBLK: .blockDevice
            case S_IFCHR: .characterDevice
            case S_IFIFO: .fifo
            case S_IFSOCK: .socket
            default: .file
            }
        let stat = FileStat(
            kind: kind, size: ByteCount(found.st_size), mode: UInt32(truncatingIfNeeded: found.st_mode) & 0o7777,
            uid: UInt32(truncatingIfNeeded: found.st_uid), gid: UInt32(truncatingIfNeeded: found.st_gid),
            modifiedNanoseconds: found.st_mtime_sec &* 1_000_000_000 &+ found.st_mtime_nsec,
            links: Int(found.st_nlink))
        return HostEntry(
            name: name, stat: stat,
            identity: FileIdentity(
                device: UInt64(bitPattern: found.st_dev), inode: UInt64(bitPattern: found.st_ino)),
            allocatedBytes: found.st_blocks &* 512)
    }

    private static func bytes(_ text: UnsafePointer<CChar>) -> [UInt8] {
        UnsafeRawBufferPointer(start: text, count: strlen(text)).map { $0 }
    }

    private static func text(_ text: UnsafePointer<CChar>) -> String { GuestPath.name(of: bytes(text)) }
}
