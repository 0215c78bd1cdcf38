import Abstractions
import Dispatch
import Host
import Synchronization
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Runs a command's body inside a run scope of its own: temporary files, child processes and locks go when it ends, however
/// it ends.
enum CommandScope {
    /// Makes the scope, runs the body, removes the scope; an interrupt cancels the body, a second one is left to the host.
    ///
    /// - Throws: what the body throws; `cancelled` after an interrupt.
    static func run<Value: Sendable>(_ body: @escaping @Sendable (RunScope) async throws -> Value) async throws -> Value
    {
        let (scope, lock) = try RunScope.make()
        for (name, value) in scope.environment { setenv(name, value, 1) }
        let work = Task { try await body(scope) }
        let signals = onInterrupt { work.cancel() }
        let result = await work.result
        signals.forEach { $0.cancel() }
        await recoverImages(scope)
        do {
            try scope.remove()
        } catch {
            Terminal.talk("anyvisor: \(error); `anyvisor reap` removes it")
        }
        withExtendedLifetime(lock) {}
        return try result.get()
    }

    /// Calls the handler when somebody asks this process to end; the second time the process ends. The answer must be kept.
    static func onInterrupt(_ handler: @escaping @Sendable () -> Void) -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM, SIGHUP].map { watch($0, handler) }
    }

    /// A plugin that died, or had no room, may have left something beside an image.
    private static func recoverImages(_ scope: RunScope) async {
        let records = (try? scope.journal.records()) ?? []
        for case .redo(let image) in Set(records) where VirtualDisk.hasLeftovers(image) {
            _ = await onOwnThread { Result { try VirtualDisk.recover(image) } }
        }
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
