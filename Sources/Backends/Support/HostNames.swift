import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Single names in host folders, as bytes; every open here is relative to a folder's descriptor and follows no link.
package enum HostNames {
    /// Runs `body` with the name's bytes as a C string.
    package static func withCString<Result>(_ name: String, _ body: (UnsafePointer<CChar>) throws -> Result) rethrows
        -> Result
    {
        // A scalar that stands for a raw byte lies above U+100000, whose first UTF-8 byte is 0xF4.
        guard name.utf8.contains(0xF4) else { return try name.withCString(body) }
        let bytes = (GuestPath.bytes(of: name) + [0]).map { CChar(bitPattern: $0) }
        return try bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return try "".withCString(body) }
            return try body(base)
        }
    }

    /// Why a folder on the host cannot have this name; nil when it can.
    package static func objection(to name: String) -> String? {
        let bytes = GuestPath.bytes(of: name)
        if bytes.isEmpty || bytes == [0x2e] || bytes == [0x2e, 0x2e] || bytes.contains(0x2f) || bytes.contains(0) {
            return "a name that a folder cannot hold"
        }
        return bytes.count > 255 ? "a name of more than 255 bytes" : nil
    }

    /// Opens one name below a folder, or returns -1 with `errno`; a symbolic link in its place fails with ELOOP.
    package static func open(_ folder: Int32, _ name: String, _ flags: Int32, mode: mode_t = 0) -> Int32 {
        withCString(name) { cName in
            let wanted = flags | O_NOFOLLOW | O_CLOEXEC
            let descriptor = av_openat2(
                folder, cName, UInt64(UInt32(bitPattern: wanted)), flags & O_CREAT != 0 ? UInt64(mode) : 0,
                UInt64(AV_RESOLVE_BENEATH | AV_RESOLVE_NO_SYMLINKS))
            guard descriptor < 0, errno == ENOSYS || errno == EPERM else { return descriptor }
            // Kernels before 5.6 and some sandboxes lack openat2. A single name that is not `..` cannot leave its folder either way.
            return openat(folder, cName, wanted, mode)
        }
    }

    /// Opens a folder below a folder.
    package static func openFolder(_ folder: Int32, _ name: String) throws -> Int32 {
        let descriptor = open(folder, name, O_RDONLY | O_DIRECTORY)
        guard descriptor >= 0 else { throw hostError("host.folder", "cannot open folder \(name)") }
        return descriptor
    }

    /// The names in an open folder, sorted by their bytes, without `.` and `..`.
    package static func list(_ folder: Int32) throws -> [String] {
        let own = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard own >= 0, let stream = fdopendir(own) else {
            let failure = hostError("host.list", "cannot list a folder")
            if own >= 0 { Glibc.close(own) }
            throw failure
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if bytes != [0x2e] && bytes != [0x2e, 0x2e] { names.append(bytes) }
        }
        guard errno == 0 else { throw hostError("host.list", "cannot list a folder") }
        names.sort { $0.lexicographicallyPrecedes($1) }
        return names.map { GuestPath.name(of: $0) }
    }

    /// The link status of a name below a folder; nil when nothing is there.
    package static func status(_ folder: Int32, _ name: String) throws -> stat? {
        var info = stat()
        let result = withCString(name) { fstatat(folder, $0, &info, AT_SYMLINK_NOFOLLOW) }
        if result == 0 { return info }
        if errno == ENOENT { return nil }
        throw hostError("host.stat", "cannot look at \(name)")
    }
}
