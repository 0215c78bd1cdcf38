import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// Turns the current `errno` into a `BackendError` with the code a caller can act on.
public func hostError(_ operation: String, _ what: String, errno number: Int32 = errno) -> BackendError {
    let code: BackendError.Code =
        switch number {
        case ENOENT, ENOTDIR: .notFound
        case EEXIST: .alreadyExists
        case EACCES, EPERM, EROFS: .permissionDenied
        case ENOSPC, EDQUOT: .noSpace
        case EBUSY, ETXTBSY, EAGAIN: .inUse
        case EINVAL, ENAMETOOLONG, EISDIR: .invalidArgument
        default: .internal
        }
    let text = String(cString: strerror(number))
    return BackendError(
        code, operation, "\(what): \(text.lowercased())", blame: .host,
        native: .init(domain: "errno", code: Int(number), text: text))
}

/// Small whole-file work on the host, without Foundation.
public enum HostFiles {
    /// Whether something is at the path; a dangling link is.
    public static func exists(_ path: HostPath) -> Bool {
        var info = stat()
        return lstat(path.string, &info) == 0
    }

    /// Whether a folder is at the path, links followed.
    public static func isDirectory(_ path: HostPath) -> Bool {
        var info = stat()
        return stat(path.string, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
    }

    /// The file's size in bytes, nil when there is none.
    public static func size(_ path: HostPath) -> Int64? {
        var info = stat()
        return stat(path.string, &info) == 0 ? Int64(info.st_size) : nil
    }

    /// Makes a folder and those above it; it may exist.
    ///
    /// - Throws: what `mkdir` says.
    public static func makeDirectories(_ path: HostPath, mode: mode_t = 0o755) throws {
        if isDirectory(path) { return }
        if path.parent != path, path.parent.string != "." { try makeDirectories(path.parent) }
        guard mkdir(path.string, mode) == 0 || errno == EEXIST else {
            throw hostError("host.mkdir", "cannot make folder \(path)")
        }
    }

    /// The whole file.
    ///
    /// - Throws: `notFound`, `permissionDenied`, or `invalidArgument` past `limit` bytes.
    public static func read(_ path: HostPath, limit: Int = 64 << 20) throws -> [UInt8] {
        let descriptor = open(path.string, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw hostError("host.read", "cannot open \(path)") }
        defer { Glibc.close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw hostError("host.read", "cannot read \(path)") }
            if count == 0 { return bytes }
            bytes.append(contentsOf: chunk[..<count])
            guard bytes.count <= limit else {
                throw BackendError(.invalidArgument, "host.read", "\(path) is larger than \(limit) bytes")
            }
        }
    }

    /// The whole file as text; bytes that are not UTF-8 become U+FFFD.
    public static func readText(_ path: HostPath, limit: Int = 64 << 20) throws -> String {
        String(decoding: try read(path, limit: limit), as: UTF8.self)
    }

    /// Writes a new file whole: beside the target, then renamed onto it, so a reader sees the old or the new one.
    ///
    /// - Throws: what the host says; the old file then stands.
    public static func write(
        _ bytes: some Collection<UInt8>, to path: HostPath, durable: Bool = false, mode: mode_t = 0o644
    )
        throws
    {
        // Several runs of one process may write the same file at once.
        let temporary = HostPath("\(path.string).tmp\(getpid()).\(UInt32.random(in: 0 ... .max))")
        let descriptor = open(temporary.string, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw hostError("host.write", "cannot write \(path)") }
        do {
            try writeAll(descriptor, Array(bytes), path)
            if durable && fdatasync(descriptor) != 0 { throw hostError("host.write", "cannot sync \(path)") }
            Glibc.close(descriptor)
        } catch {
            Glibc.close(descriptor)
            unlink(temporary.string)
            throw error
        }
        guard rename(temporary.string, path.string) == 0 else {
            let failure = hostError("host.write", "cannot write \(path)")
            unlink(temporary.string)
            throw failure
        }
        if durable { try syncDirectory(path.parent) }
    }

    /// Writes all bytes to a descriptor.
    public static func writeAll(_ descriptor: Int32, _ bytes: [UInt8], _ path: HostPath) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.write(descriptor, buffer.baseAddress.map { $0 + done }, bytes.count - done)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw hostError("host.write", "cannot write \(path)") }
            done += count
        }
    }

    /// Makes a folder's entries durable.
    public static func syncDirectory(_ path: HostPath) throws {
        let descriptor = open(path.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw hostError("host.sync", "cannot open folder \(path)") }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw hostError("host.sync", "cannot sync folder \(path)") }
    }

    /// Names in a folder, sorted, without `.` and `..`; empty when there is no such folder.
    public static func names(in path: HostPath) -> [String] {
        guard let directory = opendir(path.string) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// The absolute path with links resolved, nil when it does not exist.
    public static func resolved(_ path: HostPath) -> HostPath? {
        guard let text = realpath(path.string, nil) else { return nil }
        defer { free(text) }
        return HostPath(String(cString: text))
    }

    /// Where a symbolic link leads, as it says; nil for anything else.
    public static func linkTarget(_ path: HostPath) -> HostPath? {
        var text = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path.string, &text, text.count)
        guard count >= 0 else { return nil }
        return HostPath(String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    /// The absolute path without looking at links: the current folder in front of a relative one.
    public static func absolute(_ path: HostPath) -> HostPath {
        if path.isAbsolute { return path }
        guard let text = getcwd(nil, 0) else { return path }
        defer { free(text) }
        return HostPath(String(cString: text)).appending(path.string)
    }
}
