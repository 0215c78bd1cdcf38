import Abstractions
import CHost

#if canImport(Glibc)
    import Glibc
#endif

/// A child process in a session of its own, with pipes for its standard streams.
///
/// The child leads its process group, so `terminate` reaches its children too. It inherits no descriptor but those named here.
public final class ChildProcess: Sendable {
    /// Its number, which is also its group's.
    public let pid: Int32
    /// Writing end of its standard input, -1 when it has none.
    public let input: Int32
    /// Reading end of its standard output, -1 when it has none.
    public let output: Int32
    /// Reading end of its standard error, -1 when it has none.
    public let errors: Int32

    /// Where a standard stream of the child goes.
    public enum Stream: Sendable {
        /// A pipe to this process.
        case pipe
        /// Nothing: `/dev/null`.
        case null
        /// A descriptor of this process, which stays open here.
        case descriptor(Int32)
    }

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - arguments: without the program's name.
    ///   - environment: all of the child's environment.
    /// - Throws: `notFound` when there is no such program, else what the host says.
    public init(
        _ program: HostPath, _ arguments: [String], environment: [String: String], folder: HostPath? = nil,
        input: Stream = .null, output: Stream = .pipe, errors: Stream = .pipe
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // POSIX_SPAWN_SETSID (0x80) is a GNU extension that the overlay does not import.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF) | 0x80)

        var ends = PipeEnds()
        defer { ends.closeChildSide() }
        self.input = try ends.connect(input, to: 0, childReads: true, &actions)
        self.output = try ends.connect(output, to: 1, childReads: false, &actions)
        self.errors = try ends.connect(errors, to: 2, childReads: false, &actions)
        posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        if let folder { posix_spawn_file_actions_addchdir_np(&actions, folder.string) }

        var number: Int32 = 0
        let status = withCStrings([program.string] + arguments) { argv in
            withCStrings(environment.map { "\($0.key)=\($0.value)" }) { envp in
                posix_spawn(&number, program.string, &actions, &attributes, argv, envp)
            }
        }
        guard status == 0 else {
            ends.closeParentSide()
            throw hostError("process.start", "cannot start \(program)", errno: status)
        }
        pid = number
    }

    /// Sends a signal to the child and its group.
    public func signal(_ number: Int32) {
        kill(-pid, number)
    }

    /// Waits until the child ends; blocks the calling thread, so never call it from the cooperative pool. Call it once.
    public func wait() -> ProcessExit {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return ProcessExit(status: status)
    }

    /// Waits until the child ends and leaves it a zombie, so that its number stays its own and `signal` still reaches only its
    /// group; `wait` must follow. Blocks the calling thread.
    public func waitWithoutReaping() {
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR {}
    }

    /// Closes this side's ends of the pipes.
    public func closePipes() {
        for descriptor in [input, output, errors] where descriptor >= 0 { Glibc.close(descriptor) }
    }
}

/// How a process ended.
public enum ProcessExit: Sendable, Hashable, CustomStringConvertible {
    /// By itself, with this status.
    case exited(Int32)
    /// By this signal.
    case signaled(Int32)

    init(status: Int32) {
        let signal = status & 0x7f
        self = signal == 0 ? .exited((status >> 8) & 0xff) : .signaled(signal)
    }

    /// `exit 3` or `signal 9`.
    public var description: String {
        switch self {
        case .exited(let status): "exit \(status)"
        case .signaled(let number): "signal \(number)"
        }
    }
}

private struct PipeEnds {
    var childSide: [Int32] = []
    var parentSide: [Int32] = []

    mutating func connect(
        _ stream: ChildProcess.Stream, to target: Int32, childReads: Bool, _ actions: inout posix_spawn_file_actions_t
    ) throws -> Int32 {
        switch stream {
        case .null:
            posix_spawn_file_actions_addopen(&actions, target, "/dev/null", O_RDWR, 0)
            return -1
        case .descriptor(let descriptor):
            posix_spawn_file_actions_adddup2(&actions, descriptor, target)
            return -1
        case .pipe:
            var ends: [Int32] = [-1, -1]
            guard pipe2(&ends, O_CLOEXEC) == 0 else {
                closeChildSide()
                closeParentSide()
                throw hostError("process.start", "cannot make a pipe")
            }
            let (child, parent) = childReads ? (ends[0], ends[1]) : (ends[1], ends[0])
            childSide.append(child)
            parentSide.append(parent)
            posix_spawn_file_actions_adddup2(&actions, child, target)
            return parent
        }
    }

    mutating func closeChildSide() {
        childSide.forEach { Glibc.close($0) }
        childSide = []
    }

    mutating func closeParentSide() {
        parentSide.forEach { Glibc.close($0) }
        parentSide = []
    }
}

private func withCStrings<Result>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
) -> Result {
    let copies = strings.map { strdup($0) } + [nil]
    defer { copies.forEach { free($0) } }
    return body(copies)
}
