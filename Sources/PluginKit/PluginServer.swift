import Abstractions
import Host

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

        Task { await onOwnThread { service.pulse() } }
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
        let done = DoneSignal()
        Task {
            await task.value
            done.signal()
        }
        done.wait(limit)
    }
}
