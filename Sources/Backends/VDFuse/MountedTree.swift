import Abstractions
import BackendSupport
import CFuse3
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The files below a mount point, as the guest sees them: no path leaves it, whatever links the guest has. One thread at a time.
///
/// A link in the middle of a path leads to where it would lead in the guest: the kernel resolves it as if the mount point were `/`
/// (openat2(2), `RESOLVE_IN_ROOT`). The last component is never followed.
final class MountedTree {
    /// The mount point.
    private(set) var root: Int32

    /// Whether the file system keeps owners and modes; one that does not drops a change of them without a word.
    let keepsOwners: Bool

    /// Takes over the descriptor of the mount point.
    init(root: Int32, keepsOwners: Bool) {
        self.root = root
        self.keepsOwners = keepsOwners
    }

    /// Lets the mount point go.
    func close() {
        if root >= 0 { Glibc.close(root) }
        root = -1
    }

    deinit { close() }

    /// Closes a folder that `parent` opened.
    static func close(_ folder: Int32) { Glibc.close(folder) }

    // MARK: - Reading

    func stat(_ path: GuestPath) throws -> FileStat { try entry(path).stat }

    func list(_ path: GuestPath, after: String?) throws -> DirectoryPage {
        guard try entry(path).stat.kind == .directory else {
            throw BackendError(.invalidArgument, "list", "\(path) is not a folder")
        }
        let folder = try open(path, O_RDONLY | O_DIRECTORY)
        defer { Glibc.close(folder) }
        var names = try HostNames.list(folder)
        if let after {
            let start = GuestPath.bytes(of: after)
            names.removeAll { !start.lexicographicallyPrecedes(GuestPath.bytes(of: $0)) }
        }
        let entries = try names.prefix(1000).compactMap { name in
            try HostEntry.read(name, below: folder).map { DirectoryEntry(name: name, stat: $0.stat) }
        }
        return DirectoryPage(entries: entries, next: names.count > 1000 ? names[999] : nil)
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) throws -> [UInt8] {
        guard offset >= 0, count >= 0 else {
            throw BackendError(.invalidArgument, "read", "a negative offset or count")
        }
        guard try entry(path).stat.kind == .file else {
            throw BackendError(.invalidArgument, "read", "\(path) is not a regular file")
        }
        let file = try open(path, O_RDONLY | O_NONBLOCK)
        defer { Glibc.close(file) }
        let wanted = min(count, 512 << 10)
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
            while filled < wanted {
                let base = buffer.baseAddress.map { $0 + filled }
                let got = pread(file, base, wanted - filled, off_t(offset + Int64(filled)))
                if got < 0 && errno == EINTR { continue }
                if got < 0 { failure = errno }
                guard got > 0 else { break }
                filled += got
            }
        }
        guard failure == 0 else { throw hostError("read", "cannot read \(path)", errno: failure) }
        return bytes
    }

    func copyOut(
        _ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink,
        _ cancellation: CancellationFlag
    ) throws -> CopyReport {
        let reader = try HostTreeReader(path == .root ? "." : path.name, below: try parent(of: path))
        let size = reader.top.stat.kind == .file ? reader.top.stat.size.bytes : nil
        return try SafeTreeWriter.copy(
            to: host, policy: policy, progress: progress, totalBytes: size, cancellation: cancellation
        ) { writer in
            var visitor = CopyOutVisitor(writer: writer)
            try reader.walk(&visitor)
        }
    }

    // MARK: - Paths

    /// The folder that holds the path's last component; for the root the root itself. The caller closes it.
    func parent(of path: GuestPath) throws -> Int32 {
        // The caller goes on with the last component.
        try MountedTree.check(path)
        return try open(path.parent, AV_O_PATH | O_DIRECTORY)
    }

    /// What is at the path.
    func entry(_ path: GuestPath) throws -> HostEntry {
        let folder = try parent(of: path)
        defer { Glibc.close(folder) }
        guard let entry = try HostEntry.read(path == .root ? "." : path.name, below: folder) else {
            throw hostError("stat", "\(path)", errno: ENOENT)
        }
        return entry
    }

    /// fuse2fs writes a name of 256 bytes as one of none, which breaks the folder: so it never gets one.
    ///
    /// - Throws: `invalidArgument` for a zero byte or a name of more than 255 bytes.
    static func check(_ path: GuestPath) throws {
        try checkText(path.rawValue)
        guard path.rawValue.utf8.count > 255 else { return }
        for name in path.components where GuestPath.bytes(of: name).count > 255 {
            throw BackendError(.invalidArgument, "vdfuse", "a name of more than 255 bytes")
        }
    }

    /// - Throws: `invalidArgument` for a text that C would cut short.
    static func checkText(_ text: String) throws {
        guard text.utf8.contains(0) else { return }
        throw BackendError(.invalidArgument, "vdfuse", "a path with a zero byte")
    }

    /// Opens a path inside the guest's root; a link as its last component is not followed.
    func open(_ path: GuestPath, _ flags: Int32) throws -> Int32 {
        guard root >= 0 else { throw BackendError(.invalidState, "vdfuse", "the file system is closed") }
        try MountedTree.check(path)
        let wanted = UInt64(UInt32(bitPattern: flags | O_CLOEXEC | (flags & AV_O_PATH != 0 ? 0 : O_NOFOLLOW)))
        let relative = String(path.rawValue.dropFirst())
        let descriptor = HostNames.withCString(relative.isEmpty ? "." : relative) {
            av_openat2(root, $0, wanted, 0, UInt64(AV_RESOLVE_IN_ROOT | AV_RESOLVE_NO_MAGICLINKS))
        }
        guard descriptor >= 0 else {
            if errno == ENOSYS {
                throw BackendError(
                    .unavailable, "vdfuse", "this kernel has no openat2; Linux 5.6 and later have it", blame: .host)
            }
            throw hostError("vdfuse", "\(path)")
        }
        return descriptor
    }
}

/// Feeds a copy out of the mounted tree.
private struct CopyOutVisitor: HostTreeVisitor {
    let writer: SafeTreeWriter

    mutating func enter(_ folder: HostEntry) throws -> Bool { try writer.enterDirectory(folder.name, folder.stat) }

    mutating func leave(_ folder: HostEntry) throws { try writer.leaveDirectory() }

    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws {
        try writer.add(entry.name, entry.stat, identity: entry.identity) { sink in
            try CopyOutVisitor.copy(try open(), to: sink)
        }
    }

    /// fuse2fs does not tell where holes are: blocks of zeros are left out, so they stay holes.
    private static func copy(_ file: HostFile, to sink: FileSink) throws {
        let ranges = try file.dataRanges()
        guard ranges == [0..<file.size] else { return try sink.copy(from: file) }
        let block = 4096
        try file.read(0..<file.size) { offset, bytes in
            var start = 0
            var end = 0
            while end < bytes.count {
                let next = min(bytes.count, end + block)
                let isZero = UnsafeRawBufferPointer(rebasing: bytes[end..<next]).allSatisfy { $0 == 0 }
                if isZero {
                    if start < end {
                        try sink.write(at: offset + Int64(start), UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
                    }
                    start = next
                }
                end = next
            }
            if start < end {
                try sink.write(at: offset + Int64(start), UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            }
        }
    }
}
