import Abstractions
import BackendSupport
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A program of the host that plays the guest: it gets the disks' paths, in order, as its arguments, and its output is the console.
final class MemoryGuest: Sendable {
    private let child: ChildProcess
    private let state = Mutex<(exit: ProcessExit?, waiters: [CheckedContinuation<ProcessExit, Never>])>((nil, []))

    /// Starts the program.
    ///
    /// - Parameter ended: called once on a thread of its own.
    /// - Throws: `notFound` for a missing program.
    init(
        _ program: HostPath, _ spec: MachineSpec, _ disks: [DiskAttachment], console: MemoryConsole,
        ended: @escaping @Sendable (MemoryGuest, ProcessExit) -> Void
    ) throws {
        var environment = HostEnvironment.all.filter { ["PATH", "HOME", "TMPDIR", "LANG"].contains($0.key) }
        if let scope = RunScope.current { environment.merge(scope.environment) { $1 } }
        environment["ANYVISOR_MACHINE"] = spec.id.rawValue
        if let log = spec.consoleLog { environment["ANYVISOR_CONSOLE"] = log.string }
        // The system disk comes first and the IO disk last, whatever the order of the spec.
        let ordered = disks.filter { $0.role == .system } + disks.filter { $0.role == .io }
        child = try ChildProcess(
            program, ordered.map(\.image.path.string), environment: environment,
            output: .descriptor(console.descriptor), errors: .descriptor(console.descriptor))
        startThread { [self] in
            let exit = child.wait()
            // What the guest left behind in its session goes with it.
            child.signal(SIGKILL)
            ended(self, exit)
            let waiters = state.withLock { state in
                state.exit = exit
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.resume(returning: exit) }
        }
    }

    func hold() { child.signal(SIGSTOP) }
    func goOn() { child.signal(SIGCONT) }
    func cutPower() { child.signal(SIGKILL) }

    /// Like a power button; a paused guest does not hear it.
    func askToStop() { child.signal(SIGTERM) }

    /// Waits until the program has ended and `ended` was called.
    func end() async -> ProcessExit {
        await withCheckedContinuation { continuation in
            let exit = state.withLock { state in
                if state.exit == nil { state.waiters.append(continuation) }
                return state.exit
            }
            if let exit { continuation.resume(returning: exit) }
        }
    }

    /// Host processor time of the program, in nanoseconds: fields 14 and 15 of `/proc/PID/stat`, see proc(5).
    var cpuNanoseconds: Int64? {
        guard let text = try? HostFiles.readText(HostPath("/proc/\(child.pid)/stat")),
            let name = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: name)...].split(separator: " ")
        guard fields.count > 12, let user = Int64(fields[11]), let system = Int64(fields[12]) else { return nil }
        return (user + system) * (1_000_000_000 / Int64(sysconf(Int32(_SC_CLK_TCK))))
    }
}
