import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Kills whatever process of a run carries the machine's name on its command line: nothing else may hold its disks.
func killMachine(_ id: MachineID, of scope: RunScope) async {
    let own = ProcessIdentity(pid: getpid())
    for process in ProcessIdentity.all(ofRun: scope.id) where process != own {
        let command = (try? HostFiles.readText(HostPath("/proc/\(process.pid)/cmdline"))) ?? ""
        guard command.contains(id.rawValue) else { continue }
        process.signal(SIGKILL)
        for _ in 0..<50 where process.isAlive { try? await Task.sleep(for: .milliseconds(40)) }
    }
}
