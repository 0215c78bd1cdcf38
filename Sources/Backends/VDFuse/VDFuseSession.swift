import Abstractions
import BackendSupport
import Host
import Synchronization

/// An image that the FUSE server shows.
final class VDFuseSession: DiskSession {
    let mode: AccessMode
    private let core: SessionCore
    private let worker: BlockingWorker
    private let folder: HostPath
    private let isClosed = Mutex(false)
    private let onClose: @Sendable (VDFuseSession) -> Void

    init(
        _ image: DiskImage, _ mode: AccessMode, mounter: String?, program: HostPath,
        onClose: @escaping @Sendable (VDFuseSession) -> Void
    ) throws {
        self.mode = mode
        self.onClose = onClose
        folder = try RunScope.makeProcessFolder("vdfuse")
        core = SessionCore(image, mode, mounter: mounter, program: program, folder: folder)
        worker = BlockingWorker("vdfuse session of \(image.path)")
    }

    func start() async throws { try await perform("disk.open") { try $0.start() } }

    func volumes() async throws -> [Volume] { try await perform("disk.volumes") { try $0.volumes() } }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        try await perform("disk.filesystem") { try $0.prepare(volume) }
        return VDFuseFilesystem(self, volume)
    }

    func commit() async throws { try await perform("disk.commit", thenChecks: false) { try $0.commit() } }

    func close() async throws {
        let isFirst = isClosed.withLock { closed in
            defer { closed = true }
            return !closed
        }
        guard isFirst else { return }
        // A task of its own, so that the caller's cancellation cannot leave a mount behind.
        try await Task { try await release() }.value
    }

    private func release() async throws {
        defer {
            worker.close()
            onClose(self)
        }
        if worker.isWedged { core.killAll() }
        let isDone = await worker.cleanUp(within: .seconds(10)) { [core] in core.close() }
        if !isDone {
            core.killAll()
            await onOwnThread { [core] in core.awaitEnds(within: .seconds(20)) }
        }
        try await Self.clear(folder)
    }

    private static func clear(_ folder: HostPath) async throws {
        let result = await onOwnThread { Result { try RunScope.removeProcessFolder(folder) } }
        try result.get()
    }

    /// Runs blocking work on the session's thread; past the deadline it kills what the thread waits for, and the session is lost.
    ///
    /// - Parameter thenChecks: false for what counts even when a process dies right after it.
    func perform<Value: Sendable>(
        _ operation: String, thenChecks: Bool = true, _ body: @escaping @Sendable (SessionCore) throws -> Value
    ) async throws -> Value {
        if isClosed.withLock({ $0 }) { throw BackendError(.invalidState, operation, "the session is closed") }
        do {
            return try await worker.call(operation) { [core] in
                do {
                    let value = try body(core)
                    if thenChecks { try core.checkHealth() }
                    return value
                } catch {
                    throw core.explained(error)
                }
            }
        } catch let error as BackendError where error.code == .timeout {
            core.killAll()
            throw error
        }
    }

    /// Like `perform`, for a copy that ends when the caller cancels.
    func copy<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (SessionCore, CancellationFlag) throws -> Value
    ) async throws -> Value {
        let flag = CancellationFlag()
        return try await withTaskCancellationHandler {
            try await perform(operation) { try body($0, flag) }
        } onCancel: {
            flag.cancel()
        }
    }
}
