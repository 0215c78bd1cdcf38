import Abstractions
import BackendSupport
import CHost
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Collects dead QEMUs at once.
///
/// libvirt starts QEMU as a daemon and, to stop it, waits until its number is free. That is up to whoever adopts orphans: a slow
/// first process of the host makes every stop take 1.4 to 2 s. So this process adopts them (PR_SET_CHILD_SUBREAPER, prctl(2)).
enum OrphanReaper {
    /// Starts adopting, once in a process; there is no way back, and none is needed.
    static func start() { _ = started }

    private static let started: Void = {
        _ = av_prctl(36 /* PR_SET_CHILD_SUBREAPER */, 1)
        startThread { loop() }
    }()

    /// How many calls are under way that may start a daemon.
    private static let starting = Atomic(0)
    private static let wake = ThreadCondition()

    /// Runs a call that may start QEMU, on the current thread.
    static func watching<Value>(_ body: () throws -> Value) rethrows -> Value {
        starting.add(1, ordering: .sequentiallyConsistent)
        wake.signal()
        defer {
            starting.subtract(1, ordering: .sequentiallyConsistent)
            wake.signal()
        }
        return try body()
    }

    private static func loop() {
        var pause: UInt32 = 1
        while true {
            var info = siginfo_t()
            // Only looks: a direct child must be collected by whoever started it.
            if waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0 {
                pause = collectOrphans() ? 1 : min(pause * 2, 50)
                if pause > 1 { usleep(pause * 1000) }
            } else if starting.load(ordering: .sequentiallyConsistent) > 0 {
                usleep(5000)
            } else {
                wake.wait()
            }
        }
    }

    /// Collects every dead child that was adopted; false when there was none.
    ///
    /// A direct child has our session, or leads one of its own (`setsid` before its `exec`, or before it forks the daemon). A daemon
    /// has the session of a parent that is gone.
    private static func collectOrphans() -> Bool {
        let (own, session) = (getpid(), getsid(0))
        var found = false
        for pid in HostFiles.names(in: "/proc").compactMap({ Int32($0) }) {
            guard let status = ProcessStatus(pid: pid), status.state == "Z", status.parent == own,
                status.session != session, status.session != pid
            else { continue }
            found = waitpid(pid, nil, WNOHANG) == pid || found
        }
        return found
    }
}

/// The fields of `/proc/PID/stat` that tell whose child a process is, see proc(5).
struct ProcessStatus {
    /// One letter: `Z` dead and not collected, `T` stopped.
    var state: Substring
    /// The number of its parent.
    var parent: Int32
    /// The number of its session.
    var session: Int32

    init?(pid: Int32) {
        guard let text = try? HostFiles.readText(.init("/proc/\(pid)/stat")), let name = text.lastIndex(of: ")") else {
            return nil
        }
        let fields = text[text.index(after: name)...].split(separator: " ")
        guard fields.count > 3, let parent = Int32(fields[1]), let session = Int32(fields[3]) else { return nil }
        state = fields[0]
        self.parent = parent
        self.session = session
    }
}
