import Abstractions
import BackendSupport
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// An image that the appliance works on.
final class GuestFSSession: DiskSession {
    let mode: AccessMode
    private let core: GuestFSCore
    private let worker: BlockingWorker
    private let folder: HostPath
    private let isClosed = Mutex(false)
    /// What makes the appliance unfit for another session; nil while nothing does.
    private let fault = Mutex<String?>(nil)
    private let calls = Atomic(0)
    private let watch = Mutex<Task<Void, Never>?>(nil)
    private let onClose: @Sendable (GuestFSSession) -> Void

    /// The longest time for which an appliance at work may give no sign of life: less than a plugin's host waits.
    private static let longestSilence = Duration.seconds(45)

    /// Opens the image; blocks for a moment.
    init(
        _ image: DiskImage, _ mode: AccessMode, _ pool: AppliancePool,
        onClose: @escaping @Sendable (GuestFSSession) -> Void
    ) throws {
        self.mode = mode
        self.onClose = onClose
        folder = try RunScope.makeProcessFolder("gfs", short: true)
        do {
            core = try GuestFSCore(image, mode, socket: folder.appending("nbd"), pool: pool)
        } catch {
            try? RunScope.removeProcessFolder(folder)
            throw error
        }
        worker = BlockingWorker("libguestfs session of \(image.path)")
    }

    func volumes() async throws -> [Volume] {
        startWatch()
        return try await perform("disk.volumes") { try $0.volumes() }
    }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        startWatch()
        _ = try await perform("disk.filesystem") { _ = try $0.guest(volume) }
        return GuestFSFilesystem(self, volume)
    }

    func commit() async throws { try await perform("disk.commit") { try $0.commit() } }

    func close() async throws {
        let isFirst = isClosed.withLock { closed in
            defer { closed = true }
            return !closed
        }
        guard isFirst else { return }
        // A task of its own, so that the caller's cancellation cannot leave an appliance behind.
        try await Task { try await release() }.value
    }

    private func release() async throws {
        defer {
            worker.close()
            watch.withLock { $0 }?.cancel()
            onClose(self)
        }
        if worker.isWedged { core.kill() }
        let isSound = fault.withLock { $0 == nil } && !worker.isWedged
        let isDone = await worker.cleanUp(within: .seconds(10)) { [core] in core.close(isSound: isSound) }
        if !isDone {
            core.kill()
            // Without its QEMU every call ends, but a moment later: until then the image is not free.
            _ = await worker.cleanUp(within: .seconds(10)) {}
        }
        try await onOwnThread { [folder] in Result { try RunScope.removeProcessFolder(folder) } }.get()
    }

    /// Runs blocking work on the session's thread; past the deadline the appliance is killed, and the session is lost.
    func perform<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (GuestFSCore) throws -> Value
    ) async throws -> Value {
        if isClosed.withLock({ $0 }) { throw BackendError(.invalidState, operation, "the session is closed") }
        calls.wrappingAdd(1, ordering: .relaxed)
        defer { calls.wrappingSubtract(1, ordering: .relaxed) }
        do {
            return try await worker.call(operation) { [core] in try body(core) }
        } catch let error as BackendError {
            throw explained(error, operation)
        }
    }

    /// What is behind an error; notes whether the appliance may serve another session.
    private func explained(_ error: BackendError, _ operation: String) -> BackendError {
        var error = error
        if error.code == .timeout { core.kill() }
        let isInnocent = [.notFound, .alreadyExists, .invalidArgument, .invalidState].contains(error.code)
        if let cause = core.stagingFailure, !isInnocent, error.code != .timeout {
            error = cause
            error.operation = operation
        }
        let known = fault.withLock { fault in
            if [.timeout, .crashed, .internal].contains(error.code) || core.stagingFailure != nil {
                fault = fault ?? error.message
            }
            return fault
        }
        if error.code == .crashed, let known { error.message = known }
        return error
    }

    /// Like `perform`, for a copy that ends when the caller cancels.
    func copy<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (GuestFSCore, CancellationFlag) throws -> Value
    ) async throws -> Value {
        let flag = CancellationFlag()
        return try await withTaskCancellationHandler {
            try await perform(operation) { try body($0, flag) }
        } onCancel: {
            flag.cancel()
            core.interrupt()
        }
    }

    /// Looks each second whether the appliance is alive: a stopped one answers nothing, and never dies; neither does one that hangs.
    private func startWatch() {
        watch.withLock { task in
            guard task == nil else { return }
            task = Task { [core] in
                var looksStopped = 0
                var last = core.activity
                var moved = ContinuousClock.now
                while (try? await Task.sleep(for: .seconds(1))) != nil {
                    looksStopped = core.isStopped ? looksStopped + 1 : 0
                    if looksStopped == 2 { end("the appliance was stopped, and therefore killed") }
                    let activity = core.activity
                    if activity == nil || activity != last || calls.load(ordering: .relaxed) == 0 {
                        (last, moved) = (activity, .now)
                    } else if .now - moved > GuestFSSession.longestSilence {
                        end("the appliance gave no sign of life for 45 s, and was therefore killed")
                    }
                }
            }
        }
    }

    private func end(_ reason: String) {
        fault.withLock { $0 = $0 ?? reason }
        core.kill()
    }
}
