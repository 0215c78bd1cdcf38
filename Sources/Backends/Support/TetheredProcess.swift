import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A child process that cannot outlive this one, however this one dies.
///
/// The kernel's parent-death signal belongs to the thread that started the child: so a thread of its own starts it, waits for
/// it, and does nothing else. Killing this process ends that thread at once, even while another one hangs in the child's mount.
public final class TetheredProcess: Sendable {
    private struct State {
        var pid: Int32 = 0
        var exit: ProcessExit?
        var errors: [UInt8] = []
        var wasStopped = false
    }
    private let state = Mutex(State())
    private let name: String
    private let operation: String

    /// Starts the program, which must ask for the signal itself, or be started by one that does (`setpriv --pdeathsig`).
    ///
    /// - Parameters:
    ///   - name: for messages: "the FUSE server".
    ///   - operation: of the errors.
    /// - Throws: what the host says.
    public init(
        _ name: String, _ program: HostPath, _ arguments: [String], input: Int32? = nil, operation: String
    ) throws {
        self.name = name
        self.operation = operation
        var environment = HostEnvironment.all
        environment["LC_ALL"] = "C.UTF-8"
        if let scope = RunScope.current { environment.merge(scope.environment) { $1 } }
        let started = Handover<Result<Int32, any Error>>()
        startThread { [self, environment] in live(program, arguments, environment, input, started) }
        let pid = try started.take().get()
        state.withLock { $0.pid = pid }
    }

    private func live(
        _ program: HostPath, _ arguments: [String], _ environment: [String: String], _ input: Int32?,
        _ started: Handover<Result<Int32, any Error>>
    ) {
        do {
            let child = try ChildProcess(
                program, arguments, environment: environment, input: input.map { .descriptor($0) } ?? .null,
                output: .null)
            started.give(.success(child.pid))
            followErrors(child)
            let exit = child.wait()
            child.closePipes()
            state.withLock { $0.exit = exit }
        } catch {
            started.give(.failure(error))
        }
    }

    /// Reads its standard error to the end, and looks once a second whether somebody stopped it.
    ///
    /// A stopped server answers nothing and never dies, and who waits for its mount cannot even be killed: so it is killed.
    private func followErrors(_ child: ChildProcess) {
        var chunk = [UInt8](repeating: 0, count: 4096)
        var looksStopped = 0
        while true {
            var watched = pollfd(fd: child.errors, events: Int16(POLLIN), revents: 0)
            let ready = poll(&watched, 1, 1000)
            if ready == 0 {
                looksStopped = ProcessIdentity.isStopped(child.pid) ? looksStopped + 1 : 0
                if looksStopped == 2 {
                    state.withLock { $0.wasStopped = true }
                    child.signal(SIGKILL)
                }
            }
            guard ready > 0 else { continue }
            let count = read(child.errors, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            state.withLock { $0.errors = Array(($0.errors + chunk[..<count]).suffix(4096)) }
        }
    }

    /// How it ended; nil while it runs.
    public var exit: ProcessExit? { state.withLock { $0.exit } }

    /// The end of its standard error.
    public var errors: String { String(decoding: state.withLock { $0.errors }, as: UTF8.self) }

    /// Kills it and its children, stopped ones too.
    public func kill() {
        let pid = state.withLock { $0.exit == nil ? $0.pid : 0 }
        if pid > 0 { Glibc.kill(-pid, SIGKILL) }
    }

    /// Blocks until it has ended; false when that takes longer.
    public func waitForEnd(_ limit: Duration) -> Bool {
        eventually(within: limit) { exit != nil }
    }

    /// What to tell about a process that should still run; nil when it does.
    public var death: BackendError? {
        guard let exit else { return nil }
        let wasStopped = state.withLock { $0.wasStopped }
        return BackendError(
            .crashed, operation, "\(name) \(wasStopped ? "was stopped, and therefore killed" : "died (\(exit))")",
            retry: .reopen,
            evidence: errors.isEmpty ? [:] : ["stderr": errors])
    }
}

/// A value that one thread hands to another, once.
private final class Handover<Value: Sendable>: @unchecked Sendable {
    // The semaphore orders the two accesses to the value.
    private var value: Value?
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    func give(_ value: Value) {
        self.value = value
        sem_post(semaphore)
    }

    func take() throws -> Value {
        while sem_wait(semaphore) != 0 && errno == EINTR {}
        guard let value else { throw BackendError(.internal, "process.start", "a thread ended without an answer") }
        return value
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
}
