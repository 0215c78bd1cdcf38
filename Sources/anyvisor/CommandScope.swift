import Abstractions
import AnyvisorKit
import Dispatch
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Runs a command's body inside a run scope of its own, which becomes the whole process's.
enum CommandScope {
    /// Makes the scope, runs the body, removes the scope; an interrupt cancels the body, a second one is left to the host.
    ///
    /// - Throws: what the body throws; `cancelled` after an interrupt.
    static func run<Value: Sendable>(_ body: @escaping @Sendable (RunScope) async throws -> Value) async throws -> Value
    {
        let scope = try WorkScope()
        for (name, value) in scope.scope.environment { setenv(name, value, 1) }
        let work = Task {
            try await scope.run(leftover: { Terminal.talk("anyvisor: \($0); `anyvisor reap` removes it") }, body)
        }
        let signals = onInterrupt { work.cancel() }
        let result = await work.result
        signals.forEach { $0.cancel() }
        return try result.get()
    }

    /// Calls the handler when somebody asks this process to end; the second time the process ends. The answer must be kept.
    static func onInterrupt(_ handler: @escaping @Sendable () -> Void) -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM, SIGHUP].map { watch($0, handler) }
    }

    private static func watch(_ number: Int32, _ handler: @escaping @Sendable () -> Void) -> any DispatchSourceSignal {
        signal(number, SIG_IGN)
        let seen = Atomic(false)
        let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        source.setEventHandler {
            if seen.exchange(true, ordering: .relaxed) { _exit(ExitStatus.interrupted) }
            handler()
        }
        source.resume()
        return source
    }
}
