import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension MountedImage {
    /// Commits, unmounts, and waits until the server has let the image go.
    ///
    /// - Parameter lazily: the folder goes at once, the server when its last user is gone; nobody waits for that.
    /// - Throws: `inUse` that names who is inside, `unavailable` for a server that is stopped. What could not be written to the
    ///   image is thrown after the unmount: it is lost either way.
    func unmount(lazily: Bool) throws {
        if !lazily, let process, ProcessIdentity.isStopped(process) {
            throw BackendError(
                .unavailable, "unmount",
                "the server of \(folder), process \(process), is stopped; `kill -CONT \(process)` lets it go on",
                blame: .host)
        }
        let server = process.flatMap { ProcessIdentity(pid: $0) }
        let failure = lazily ? nil : commit()
        try detach(lazily: lazily)
        if lazily { return }
        guard eventually(within: .seconds(120), { server?.isAlive != true }) else {
            throw BackendError(
                .timeout, "unmount", "\(folder) is unmounted, but its server does not end", blame: .host,
                retry: .backoff)
        }
        if let failure { throw failure }
    }

    private func commit() -> BackendError? {
        let file = open(folder.appending("EntireDisk").string, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else {
            // Not even root sees what another user has mounted; then the server commits at its end.
            return errno == EACCES ? nil : hostError("unmount", "cannot open \(folder)/EntireDisk")
        }
        defer { close(file) }
        guard fsync(file) != 0 else { return nil }
        return hostError(
            "unmount", "not all that was written below \(folder) got into the image, which is as it was before")
    }

    private func detach(lazily: Bool) throws {
        var problem: Int32 = 0
        // A descriptor that was just closed may keep it busy for a moment.
        let isOver = eventually(within: .milliseconds(300)) {
            problem = take(lazily: lazily)
            return problem != EBUSY
        }
        if isOver && problem == 0 { return }
        guard problem == EBUSY else { throw hostError("unmount", "\(folder) cannot be unmounted", errno: problem) }
        let holders = MountTable.holders(of: folder)
        throw BackendError(
            .inUse, "unmount",
            "\(folder) is in use by \(holders.isEmpty ? "a process that this user cannot see" : holders.joined(separator: ", ")); "
                + "end that first, or `anyvisor unmount --lazy \(folder)`", blame: .caller)
    }

    /// - Returns: 0, or why not.
    private func take(lazily: Bool) -> Int32 {
        // UMOUNT_NOFOLLOW 8, MNT_DETACH 2
        if umount2(folder.string, lazily ? 8 | 2 : 8) == 0 { return 0 }
        guard errno == EPERM, let program = HostEnvironment.program("fusermount3"),
            let child = try? ChildProcess(
                program, ["-u"] + (lazily ? ["-z"] : []) + ["-q", "--", folder.string],
                environment: ["PATH": "/usr/bin:/bin"], output: .null, errors: .null)
        else { return errno }
        if child.wait() == .exited(0) { return 0 }
        return MountedImage.isMounted(folder) ? EBUSY : 0
    }
}
