import Abstractions
import Host
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// An image that `anyvisor mount` shows, or showed until its server was killed; found by its folder. Its calls block.
struct MountedImage: Sendable {
    /// The server's scope.
    let scope: RunScope
    /// Where it is mounted.
    let folder: HostPath

    /// All on a folder, as `MountTable.normalized` names it: at most one lives.
    static func all(on folder: HostPath) -> [MountedImage] {
        let runs = HostEnvironment.state.appending("runs")
        return HostFiles.names(in: runs).map { RunScope(folder: runs.appending($0)) }.filter { scope in
            guard HostFiles.exists(scope.mountServerFile), let records = try? scope.journal.records() else {
                return false
            }
            return records.contains(.mount(folder))
        }.map { MountedImage(scope: $0, folder: folder) }
    }

    /// Whether its server runs.
    var isAlive: Bool { FileLock.isHeld(scope.lockFile) }

    /// The server's process number.
    var process: Int32? {
        (try? HostFiles.readText(scope.mountServerFile)).flatMap { Int32($0.prefix { $0 != "\n" }) }
    }

    /// Clears up after servers that were killed, so that the folder can be used again.
    ///
    /// - Returns: whether there was anything to clear.
    /// - Throws: `inUse` when a dead mount does not go.
    static func clearDead(on folder: HostPath) throws -> Bool {
        let dead = all(on: folder).filter { !$0.isAlive }
        for image in dead { try image.clear() }
        // Its scope may be gone, or another user's.
        guard isMounted(folder), !all(on: folder).contains(where: \.isAlive), !answers(folder) else {
            return !dead.isEmpty
        }
        try takeAway(folder)
        return true
    }

    /// Whether an image is mounted on the folder, dead or alive.
    static func isMounted(_ folder: HostPath) -> Bool {
        MountTable.mounts(below: folder).last { $0.path == folder }?.type == "fuse.anyvisor"
    }

    private static func answers(_ folder: HostPath) -> Bool {
        var info = stat()
        return stat(folder.string, &info) == 0 || errno != ENOTCONN
    }

    private static func takeAway(_ folder: HostPath) throws {
        guard MountTable.unmountAll(below: folder).isEmpty else {
            throw BackendError(
                .inUse, "mount",
                "\(folder) is a dead mount and does not go; `umount -l \(folder)` as root takes it away",
                blame: .host)
        }
    }

    /// What `reap` would do. An image that somebody else has open by now is left to its next open, which does the same.
    private func clear() throws {
        let lock = try FileLock(scope.lockFile)
        try MountedImage.takeAway(folder)
        for case .redo(let image) in try scope.journal.records() { _ = try? VirtualDisk.recover(image) }
        try scope.remove()
        withExtendedLifetime(lock) {}
    }
}
