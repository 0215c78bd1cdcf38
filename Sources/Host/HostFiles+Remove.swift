import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

extension HostFiles {
    /// Removes a file or tree; links are removed, never followed, and mounts below are not entered. Nothing there is no error.
    ///
    /// Names need not be UTF-8, and a tree may be deeper than a path is long.
    /// - Throws: `inUse` for a mount, what the host says about the first entry that stays.
    public static func removeTree(_ path: HostPath) throws {
        var info = stat()
        guard lstat(path.string, &info) == 0 else {
            if errno == ENOENT { return }
            throw hostError("host.remove", "cannot remove \(path)")
        }
        guard info.st_mode & S_IFMT == S_IFDIR else {
            guard unlink(path.string) == 0 || errno == ENOENT else {
                throw hostError("host.remove", "cannot remove \(path)")
            }
            return
        }
        if info.st_mode & 0o700 != 0o700 { chmod(path.string, 0o700) }
        let top = open(path.string, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard top >= 0 else { throw hostError("host.remove", "cannot open \(path)") }
        defer { close(top) }
        try TreeEmptying(path: path, top: top, device: info.st_dev).run()
        guard rmdir(path.string) == 0 || errno == ENOENT else {
            throw hostError("host.remove", "cannot remove \(path)")
        }
    }
}

/// Empties a folder with two open descriptors, however deep it is: a full folder below a folder is first moved up to the top.
private struct TreeEmptying {
    let path: HostPath
    let top: Int32
    let device: dev_t

    func run() throws {
        var moved = 0
        while true {
            let folders = try empty(top, isTop: true, &moved)
            if folders.isEmpty { return }
            for name in folders {
                let folder = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                guard folder >= 0 else { throw failure(name) }
                defer { close(folder) }
                _ = try empty(folder, isTop: false, &moved)
                guard unlinkat(top, name, AT_REMOVEDIR) == 0 || errno == ENOENT else { throw failure(name) }
            }
        }
    }

    /// Removes what is no full folder; full ones stay at the top, and go there from elsewhere.
    private func empty(_ folder: Int32, isTop: Bool, _ moved: inout Int) throws -> [[CChar]] {
        var folders: [[CChar]] = []
        for name in try names(folder) {
            var info = stat()
            guard fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            guard info.st_mode & S_IFMT == S_IFDIR else {
                guard unlinkat(folder, name, 0) == 0 || errno == ENOENT else { throw failure(name) }
                continue
            }
            guard info.st_dev == device else {
                throw BackendError(
                    .inUse, "host.remove", "a file system is mounted on \(text(name)) below \(path), unmount it first",
                    blame: .host)
            }
            if unlinkat(folder, name, AT_REMOVEDIR) == 0 { continue }
            if info.st_mode & 0o700 != 0o700 { fchmodat(folder, name, 0o700, 0) }
            if isTop { folders.append(name) } else { try moveUp(name, from: folder, &moved) }
        }
        return folders
    }

    private func moveUp(_ name: [CChar], from folder: Int32, _ moved: inout Int) throws {
        while true {
            moved += 1
            if renameat(folder, name, top, ".removing-\(moved)") == 0 { return }
            guard [EEXIST, ENOTEMPTY, ENOTDIR].contains(errno) else { throw failure(name) }
        }
    }

    private func names(_ folder: Int32) throws -> [[CChar]] {
        let own = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard own >= 0, let directory = fdopendir(own) else {
            throw hostError("host.remove", "cannot list a folder below \(path)")
        }
        defer { closedir(directory) }
        var names: [[CChar]] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                bytes.prefix { $0 != 0 }.map { CChar(bitPattern: $0) } + [0]
            }
            if name != [0x2e, 0] && name != [0x2e, 0x2e, 0] { names.append(name) }
        }
        return names
    }

    private func failure(_ name: [CChar]) -> BackendError {
        hostError("host.remove", "cannot remove \(text(name)) below \(path)")
    }

    private func text(_ name: [CChar]) -> String {
        GuestPath.name(of: name.dropLast().map { UInt8(bitPattern: $0) })
    }
}
