import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

// A scope has its folder a moment before its lock. Whoever makes one shares a lock on the folder of all runs meanwhile, so that `reap`
// can tell a scope in the making from that of a process which was killed in this moment.

extension RunScope {
    /// Runs `body` while the folder of all runs is locked against those who ask `isMaking`.
    static func making<Value>(in runs: HostPath, _ body: () throws -> Value) throws -> Value {
        let descriptor = open(runs.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw hostError("scope", "cannot open \(runs)") }
        defer {
            // A child that is just being started has a copy until its exec: closing alone would leave the lock.
            flock(descriptor, LOCK_UN)
            close(descriptor)
        }
        while flock(descriptor, LOCK_SH) != 0 {
            guard errno == EINTR else {
                throw hostError("scope", "cannot lock \(runs); its file system must know flock")
            }
        }
        return try body()
    }

    /// Whether somebody may be making a scope at this moment; a folder without a lock file that was there before is nobody's if not.
    public static func isMaking(in state: HostPath) -> Bool {
        let descriptor = open(state.appending("runs").string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer {
            flock(descriptor, LOCK_UN)
            close(descriptor)
        }
        return flock(descriptor, LOCK_EX | LOCK_NB) != 0
    }
}
