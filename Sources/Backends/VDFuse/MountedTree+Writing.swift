import Abstractions
import BackendSupport
import CFuse3
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension MountedTree {
    func makeDirectory(_ path: GuestPath, parents: Bool) throws {
        if parents {
            var above = GuestPath.root
            for component in path.components {
                above = above.appending(component)
                try makeFolder(above, mayExist: true)
            }
        } else {
            guard path != .root else { throw hostError("makeDirectory", "/", errno: EEXIST) }
            try makeFolder(path, mayExist: false)
        }
    }

    private func makeFolder(_ path: GuestPath, mayExist: Bool) throws {
        let folder = try parent(of: path)
        defer { Glibc.close(folder) }
        if HostNames.withCString(path.name, { mkdirat(folder, $0, 0o755) }) == 0 {
            // Whatever this process's umask is; and in a setgid folder the bit is inherited.
            guard HostNames.withCString(path.name, { fchmodat(folder, $0, 0o755, 0) }) == 0 else {
                throw hostError("makeDirectory", "cannot set the mode of \(path)")
            }
            return
        }
        let number = errno
        if number == EEXIST, mayExist, let found = try HostEntry.read(path.name, below: folder) {
            // A link may lead to a folder: then what comes below it finds that.
            if found.stat.kind == .directory || found.stat.kind == .symlink { return }
        }
        throw hostError("makeDirectory", "cannot make folder \(path)", errno: number)
    }

    func remove(_ path: GuestPath, recursive: Bool) throws {
        guard path != .root else { throw BackendError(.invalidArgument, "remove", "the root cannot be removed") }
        let folder = try parent(of: path)
        defer { Glibc.close(folder) }
        guard let found = try HostEntry.read(path.name, below: folder) else {
            throw hostError("remove", "\(path)", errno: ENOENT)
        }
        if recursive { return try TreeRemover.remove(path.name, below: folder) }
        let flags = found.stat.kind == .directory ? AT_REMOVEDIR : 0
        guard HostNames.withCString(path.name, { unlinkat(folder, $0, flags) }) == 0 else {
            if errno == ENOTEMPTY || errno == EEXIST {
                throw BackendError(.invalidArgument, "remove", "folder \(path) is not empty")
            }
            throw hostError("remove", "cannot remove \(path)")
        }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) throws {
        guard path != .root, newPath != .root else {
            throw BackendError(.invalidArgument, "rename", "the root cannot be renamed or replaced")
        }
        let source = try entry(path)
        let from = try parent(of: path)
        defer { Glibc.close(from) }
        let to = try parent(of: newPath)
        defer { Glibc.close(to) }
        if let old = try HostEntry.read(newPath.name, below: to) {
            if old.identity == source.identity && path == newPath { return }
            if old.stat.kind == .directory { throw hostError("rename", "\(newPath)", errno: EEXIST) }
            // The kernel would not let a folder replace a file.
            if source.stat.kind == .directory { _ = HostNames.withCString(newPath.name) { unlinkat(to, $0, 0) } }
        }
        let result = HostNames.withCString(path.name) { name in
            HostNames.withCString(newPath.name) { renameat(from, name, to, $0) }
        }
        guard result == 0 else {
            if errno == EINVAL {
                throw BackendError(.invalidArgument, "rename", "folder \(path) cannot move into itself")
            }
            throw hostError("rename", "cannot rename \(path) to \(newPath)")
        }
    }

    func symlink(_ path: GuestPath, target: String) throws {
        guard path != .root else { throw hostError("symlink", "/", errno: EEXIST) }
        try MountedTree.checkText(target)
        let folder = try parent(of: path)
        defer { Glibc.close(folder) }
        let result = HostNames.withCString(target) { text in
            HostNames.withCString(path.name) { symlinkat(text, folder, $0) }
        }
        guard result == 0 else { throw hostError("symlink", "cannot make link \(path)") }
    }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) throws {
        let folder = try parent(of: path)
        defer { Glibc.close(folder) }
        let name = path == .root ? "." : path.name
        guard let found = try HostEntry.read(name, below: folder) else {
            throw hostError("setMetadata", "\(path)", errno: ENOENT)
        }
        try HostNames.withCString(name) { try MountedTree.apply(change, to: $0, in: folder, found.stat) }
        guard !keepsOwners, let kept = try HostEntry.read(name, below: folder)?.stat else { return }
        for (wanted, found) in [(change.mode, kept.mode), (change.uid, kept.uid), (change.gid, kept.gid)]
        where wanted != nil && wanted != found {
            throw BackendError(
                .unsupported, "setMetadata", "the file system of \(path) does not keep this owner or mode")
        }
    }

    /// Owner first, since a change of owner takes the setuid bit away; times last.
    static func apply(
        _ change: MetadataChange, to name: UnsafePointer<CChar>, in folder: Int32, _ old: FileStat
    ) throws {
        func check(_ result: Int32, _ what: String) throws {
            guard result == 0 else { throw hostError("setMetadata", "cannot set the \(what) of a file") }
        }
        if change.uid != nil || change.gid != nil {
            // All ones leaves a number as it is, see chown(2).
            try check(
                fchownat(folder, name, change.uid ?? .max, change.gid ?? .max, AT_SYMLINK_NOFOLLOW), "owner")
        }
        let mode = change.mode ?? (change.uid != nil || change.gid != nil ? old.mode : nil)
        if let mode, old.kind != .symlink { try check(fchmodat(folder, name, mode_t(mode & 0o7777), 0), "mode") }
        if let modified = change.modifiedNanoseconds {
            var seconds = modified / 1_000_000_000
            var rest = modified % 1_000_000_000
            if rest < 0 {
                seconds -= 1
                rest += 1_000_000_000
            }
            let omit = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2)  // UTIME_OMIT
            var times = [omit, timespec(tv_sec: Int(seconds), tv_nsec: Int(rest))]
            try check(utimensat(folder, name, &times, AT_SYMLINK_NOFOLLOW), "time")
        }
    }
}
