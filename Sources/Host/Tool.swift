import Abstractions
import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Runs one of the host's own tools (mke2fs, e2fsck, pip, qemu-img) to its end.
public enum Tool {
    /// What a tool left.
    public struct Outcome: Sendable {
        /// How it ended.
        public var exit: ProcessExit
        /// Its standard output, at most `limit` bytes.
        public var output: [UInt8]
        /// The last 16 KiB of its standard error.
        public var errors: String
        /// Its standard output as text.
        public var text: String { String(decoding: output, as: UTF8.self) }
    }

    /// Runs a tool. When the deadline passes or the task is cancelled its whole group is killed.
    ///
    /// - Parameter marked: whether it and what it starts belong to the run, and end with it; not so for one that starts a service.
    /// - Throws: `unavailable` when the tool is missing, `timeout`, `cancelled`. A non-zero exit is not an error here.
    public static func run(
        _ name: String, _ arguments: [String], environment: [String: String] = HostEnvironment.all,
        folder: HostPath? = nil, outputFile: Int32? = nil, deadline: Duration = .seconds(120), limit: Int = 16 << 20,
        marked: Bool = true
    ) async throws -> Outcome {
        guard let program = HostEnvironment.program(name) else {
            throw BackendError(
                .unavailable, "tool", "\(name) is not installed, `make setup` installs what anyvisor needs",
                blame: .host)
        }
        try Task.checkCancellation()
        var environment = environment
        environment["LC_ALL"] = "C.UTF-8"
        if marked, let scope = RunScope.current { environment.merge(scope.environment) { $1 } }
        let child = try ChildProcess(
            program, arguments, environment: environment, folder: folder,
            output: outputFile.map { .descriptor($0) } ?? .pipe)
        let timedOut = Mutex(false)
        let timer = Task {
            try await ContinuousClock.wait(until: .now + deadline)
            timedOut.withLock { $0 = true }
            child.signal(SIGKILL)
        }
        defer { timer.cancel() }
        let outcome = await withTaskCancellationHandler {
            await collect(child, limit: limit)
        } onCancel: {
            child.signal(SIGKILL)
        }
        if timedOut.withLock({ $0 }) {
            throw BackendError(.timeout, "tool", "\(name) did not end within \(deadline.inSeconds) s", blame: .host)
        }
        try Task.checkCancellation()
        return outcome
    }

    /// Like `run`, and a non-zero exit throws `internal` with the end of the standard error.
    public static func check(
        _ name: String, _ arguments: [String], folder: HostPath? = nil, deadline: Duration = .seconds(120)
    ) async throws -> Outcome {
        let outcome = try await run(name, arguments, folder: folder, deadline: deadline)
        guard outcome.exit == .exited(0) else {
            let tail = outcome.errors.split(separator: "\n").suffix(3).joined(separator: "; ")
            throw BackendError(
                tail.contains("No space left") ? .noSpace : .internal, "tool",
                "\(name) ended with \(outcome.exit): \(tail)", blame: .host, evidence: ["stderr": outcome.errors])
        }
        return outcome
    }

    private static func collect(_ child: ChildProcess, limit: Int) async -> Outcome {
        async let output = drain(child.output, keepFirst: limit)
        async let errors = drain(child.errors, keepLast: 16 << 10)
        let (out, err) = await (output, errors)
        let exit = await onOwnThread { child.wait() }
        child.closePipes()
        // What the tool left behind in its session goes with it.
        kill(-child.pid, SIGKILL)
        return Outcome(exit: exit, output: out, errors: String(decoding: err, as: UTF8.self))
    }

    private static func drain(_ descriptor: Int32, keepFirst: Int? = nil, keepLast: Int? = nil) async -> [UInt8] {
        guard descriptor >= 0 else { return [] }
        return await onOwnThread {
            var kept: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                let count = read(descriptor, &chunk, chunk.count)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { return kept }
                if let keepFirst {
                    kept.append(contentsOf: chunk[..<min(count, max(0, keepFirst - kept.count))])
                } else {
                    kept.append(contentsOf: chunk[..<count])
                    if let keepLast, kept.count > keepLast { kept.removeFirst(kept.count - keepLast) }
                }
            }
        }
    }
}

/// Runs blocking work on a thread of its own, away from the cooperative pool, in the run scope of the task.
public func onOwnThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    let scope = RunScope.adopted
    return await withCheckedContinuation { continuation in
        let work: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { pointer in
            guard let pointer else { return nil }
            Unmanaged<ThreadBody>.fromOpaque(pointer).takeRetainedValue().run()
            return nil
        }
        let box = Unmanaged.passRetained(
            ThreadBody {
                continuation.resume(returning: RunScope.$adopted.withValue(scope, operation: body))
            })
        var thread = pthread_t()
        if pthread_create(&thread, nil, work, box.toOpaque()) == 0 {
            pthread_detach(thread)
        } else {
            // No thread to be had: blocking here is the lesser evil.
            box.takeRetainedValue().run()
        }
    }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
