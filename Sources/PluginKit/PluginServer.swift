import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Serves a backend on standard input and output; all of a plugin's `main.swift`.
///
/// ```swift
/// await PluginServer.serve(DirectBackend.descriptor, version: "1.0")
/// ```
/// The reader thread never enters the backend, so a wedged call still sees cancel and the end of the input. The end of the
/// input closes the backend, for at most five seconds, and ends the process: no orphan outlives its host.
public enum PluginServer {
    /// Serves until the input ends; never returns.
    public static func serve(_ descriptor: BackendDescriptor, version: String, features: [Feature] = []) async -> Never
    {
        let handshake = Handshake(
            protocol: Wire.versions, kind: descriptor.kind, name: descriptor.name, version: version,
            features: features + [.pulse])
        answerCommandLine(handshake, descriptor)
        let channel = claimStreams()
        signal(SIGPIPE, SIG_IGN)
        let service = PluginService(descriptor, channel)
        guard let line = try? Wire.encode(handshake), (try? channel.write(line)) != nil else { _exit(16) }

        await onOwnThread {
            if let problem = channel.readLines({ service.receive($0) }) {
                complain("\(problem)")
            }
        }
        let closing = Task { await service.close() }
        await onOwnThread { waitAtMost(.seconds(5), for: closing) }
        _exit(0)
    }

    private static func answerCommandLine(_ handshake: Handshake, _ descriptor: BackendDescriptor) {
        if CommandLine.arguments.contains("--describe") {
            if let line = try? Wire.encode(handshake) { print(String(decoding: line, as: UTF8.self), terminator: "") }
            exit(0)
        }
        if HostEnvironment.variable(Wire.cookie) == nil {
            complain(
                "this program is the anyvisor plugin '\(descriptor.name)' and speaks JSON on its standard streams; "
                    + "`anyvisor plugin describe \(descriptor.name)` shows what it can")
            exit(2)
        }
    }

    private static func complain(_ text: String) {
        try? HostFiles.writeAll(2, Array((text + "\n").utf8), "standard error")
    }

    /// Moves the wire away from 0 and 1, which C libraries and their children print to.
    private static func claimStreams() -> LineChannel {
        let input = fcntl(0, F_DUPFD_CLOEXEC, 100)
        let output = fcntl(1, F_DUPFD_CLOEXEC, 100)
        let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
        dup2(null, 0)
        dup2(2, 1)
        return LineChannel(input: input, output: output)
    }

    private static func waitAtMost(_ limit: Duration, for task: Task<Void, Never>) {
        let done = Atomic(false)
        let semaphore = DoneSignal()
        Task {
            await task.value
            done.store(true, ordering: .releasing)
            semaphore.signal()
        }
        semaphore.wait(limit)
    }
}

/// Something that a thread waits for, with a limit.
final class DoneSignal: @unchecked Sendable {
    // A POSIX semaphore is made to be shared between threads.
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    func signal() { sem_post(semaphore) }

    /// Blocks until `signal` or the limit; true when it was signalled.
    @discardableResult
    func wait(_ limit: Duration) -> Bool {
        var until = timespec()
        clock_gettime(CLOCK_REALTIME, &until)
        let nanoseconds = Int64(until.tv_nsec) + limit.milliseconds % 1000 * 1_000_000
        until.tv_sec += Int(limit.milliseconds / 1000 + nanoseconds / 1_000_000_000)
        until.tv_nsec = Int(nanoseconds % 1_000_000_000)
        while sem_timedwait(semaphore, &until) != 0 {
            if errno != EINTR { return false }
        }
        return true
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
}
