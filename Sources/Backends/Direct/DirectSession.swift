import Abstractions
import BackendSupport
import Synchronization

/// An image that is open, on a thread of its own.
final class DirectSession: DiskSession {
    /// The image while it is open; only jobs of the worker touch what is inside.
    private final class Slot: @unchecked Sendable {
        var image: DirectImage?
    }

    private let mode: AccessMode
    private let name: String
    private let worker: BlockingWorker
    private let slot = Slot()
    private let isClosed = Mutex(false)
    private let onClose: @Sendable (DirectSession) -> Void

    private init(_ image: DiskImage, _ mode: AccessMode, _ onClose: @escaping @Sendable (DirectSession) -> Void) {
        self.mode = mode
        self.onClose = onClose
        name = image.path.string
        worker = BlockingWorker("direct \(image.path)")
    }

    static func open(
        _ image: DiskImage, _ mode: AccessMode, onClose: @escaping @Sendable (DirectSession) -> Void
    ) async throws -> DirectSession {
        let session = DirectSession(image, mode, onClose)
        let slot = session.slot
        do {
            try await session.worker.call("disk.open") { slot.image = try DirectImage(image, mode) }
        } catch {
            try? await session.close()
            throw BackendError.wrapping(error, "disk.open").named("direct")
        }
        return session
    }

    /// Runs a job with the image on the session's thread.
    ///
    /// A cancelled task waits for the job's own clean end, which its flag asks for; a deadline does not wait.
    func run<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (DirectImage, CancellationFlag) throws -> Value
    ) async throws -> Value {
        try Task.checkCancellation()
        let flag = CancellationFlag()
        let slot = slot
        let name = name
        let call = Task {
            try await worker.call(operation) {
                guard let image = slot.image else {
                    throw BackendError(.invalidState, operation, "the session of \(name) is closed", backend: "direct")
                }
                return try body(image, flag)
            }
        }
        return try await withTaskCancellationHandler {
            do {
                return try await call.value
            } catch {
                // After a deadline the job still runs: nobody wants its result any more.
                flag.cancel()
                if error is CancellationError { throw error }
                throw BackendError.wrapping(error, operation).named("direct")
            }
        } onCancel: {
            flag.cancel()
        }
    }

    func volumes() async throws -> [Volume] {
        try await run("disk.volumes") { image, _ in image.listVolumes() }
    }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        try await run("disk.filesystem") { image, _ in _ = try image.filesystem(volume) }
        return DirectFilesystem(self, volume, mode)
    }

    func commit() async throws {
        try await run("disk.commit") { image, _ in try image.commit() }
    }

    func close() async throws {
        let isFirst = isClosed.withLock { closed in
            defer { closed = true }
            return !closed
        }
        guard isFirst else { return }
        let slot = slot
        // Behind a job that hangs the image is freed when that ends; nobody waits for it.
        if worker.isWedged {
            worker.enqueue { slot.image = nil }
        } else {
            try? await Task { try await worker.call("disk.close") { slot.image = nil } }.value
        }
        worker.close()
        onClose(self)
    }
}
