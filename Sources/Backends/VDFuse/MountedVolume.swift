import Abstractions
import BackendSupport
import CFuse3
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A volume's file system, mounted on the host. One thread at a time.
final class MountedVolume {
    /// Where it is mounted.
    let point: HostPath
    /// Everything that is done to its files.
    private(set) var tree: MountedTree
    private let server: TetheredProcess?
    private let mode: AccessMode

    /// Mounts a file of the FUSE server on an empty folder.
    ///
    /// - Throws: `corrupt` for a file system that the kernel refuses, `unavailable`, `crashed`.
    init(
        _ file: ServedFile, in folder: HostPath, on point: HostPath, _ mode: AccessMode, by mounter: Mounter,
        program: HostPath, started: (TetheredProcess) -> Void
    ) throws {
        let (source, type) = (folder.appending(file.name), file.volume?.fileSystem ?? "")
        try RunScope.current?.journal.append(.mount(point))
        switch mounter {
        case .kernel:
            try MountedVolume.mountWithKernel(file, type, source, point, mode)
            server = nil
        case .fuse2fs, .ntfs3g:
            server = try MountedVolume.mountWithProgram(mounter, file, source, point, mode, program, started)
        }
        self.point = point
        self.mode = mode
        tree = MountedTree(
            root: try MountedVolume.root(of: point), keepsOwners: !["vfat", "ntfs"].contains(type))
    }

    private static func root(of point: HostPath) throws -> Int32 {
        let root = open(point.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard root >= 0 else { throw hostError("vdfuse.mount", "cannot open the mounted file system") }
        return root
    }

    /// Unmounts it, so that the server has all of it.
    ///
    /// - Throws: `inUse` while somebody is inside, `crashed`, what the host says about the last writes.
    func unmount() throws {
        let synced = syncfs(tree.root)
        let failure = hostError("vdfuse.unmount", "the file system could not write everything")
        tree.close()
        do {
            try takeAway()
        } catch let error as BackendError where error.code == .inUse {
            // It stays mounted, so the session goes on.
            tree = MountedTree(root: try MountedVolume.root(of: point), keepsOwners: tree.keepsOwners)
            throw error
        }
        guard synced == 0 else { throw failure }
    }

    /// Makes the kernel write what it has and leave the file system clean: an unmount alone does not while a process has a copy of
    /// the mount in a namespace of its own, as one that was started meanwhile may (`unshare --mount`).
    ///
    /// - Returns: false, with `errno`, while a file is open for writing.
    private func settle() -> Bool {
        // Whatever else stands against it: the unmount and the look at the result before a commit find it.
        mode == .readOnly || remount(.readOnly) == 0 || errno != EBUSY
    }

    @discardableResult
    private func remount(_ mode: AccessMode) -> Int32 {
        Glibc.mount(nil, point.string, nil, MountedVolume.flags(mode) | 32, nil)  // MS_REMOUNT
    }

    private func takeAway() throws {
        guard let server else {
            // Our own lookups may keep it busy for a moment after a descriptor is closed.
            var problem: Int32 = 0
            let done = eventually(within: .seconds(2)) {
                if settle(), umount2(point.string, 8) == 0 { return true }  // UMOUNT_NOFOLLOW
                problem = errno
                return problem != EBUSY
            }
            guard done, problem == 0 || problem == EBUSY else {
                remount(mode)
                throw hostError(
                    "vdfuse.unmount", "\(point) cannot be unmounted, close what is open in it", errno: problem)
            }
            return
        }
        if let death = server.death { throw death }
        guard let program = HostEnvironment.program("fusermount3") else {
            throw BackendError(.unavailable, "vdfuse.unmount", "fusermount3 is gone from this host")
        }
        let child = try ChildProcess(
            program, ["-u", "-q", "--", point.string], environment: ["PATH": "/usr/bin:/bin"], output: .null,
            errors: .null)
        guard child.wait() == .exited(0) else {
            throw BackendError(
                .inUse, "vdfuse.unmount", "\(point) cannot be unmounted, close what is open in it", blame: .host,
                retry: .backoff)
        }
        // Only its end says that it has written all.
        guard server.waitForEnd(.seconds(60)) else {
            server.kill()
            throw BackendError(.timeout, "vdfuse.unmount", "the server of \(point) did not end", retry: .reopen)
        }
        if let exit = server.exit, exit != .exited(0), let death = server.death { throw death }
    }
}
