import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Removes a tree of any depth without following a link and without building a path.
package enum TreeRemover {
    /// Removes what the name names below a folder; nothing there is no error.
    ///
    /// - Throws: what the host says about the first entry that stays.
    package static func remove(_ name: String, below folder: Int32) throws {
        guard let info = try HostNames.status(folder, name) else { return }
        guard info.st_mode & S_IFMT == S_IFDIR else { return try unlink(name, below: folder, flags: 0) }
        try openUp(name, below: folder)
        let stack = FolderStack(root: try HostNames.openFolder(folder, name))
        var pending = [try HostNames.list(try stack.current())]
        while !pending.isEmpty {
            if let next = pending[pending.count - 1].popLast() {
                let current = try stack.current()
                guard let info = try HostNames.status(current, next) else { continue }
                if info.st_mode & S_IFMT == S_IFDIR {
                    try openUp(next, below: current)
                    try stack.enter(next)
                    pending.append(try HostNames.list(try stack.current()))
                } else {
                    try unlink(next, below: current, flags: 0)
                }
            } else {
                pending.removeLast()
                guard let done = stack.lastName else { break }
                stack.leave()
                try unlink(done, below: try stack.current(), flags: AT_REMOVEDIR)
            }
        }
        try unlink(name, below: folder, flags: AT_REMOVEDIR)
    }

    private static func openUp(_ name: String, below folder: Int32) throws {
        guard let info = try HostNames.status(folder, name), info.st_mode & 0o700 != 0o700 else { return }
        // Not a link: the caller has just seen a folder, and fchmodat on a link that replaced it changes at most our own file.
        _ = HostNames.withCString(name) { fchmodat(folder, $0, 0o700, 0) }
    }

    private static func unlink(_ name: String, below folder: Int32, flags: Int32) throws {
        let result = HostNames.withCString(name) { unlinkat(folder, $0, flags) }
        guard result == 0 || errno == ENOENT else { throw hostError("host.remove", "cannot remove \(name)") }
    }
}
