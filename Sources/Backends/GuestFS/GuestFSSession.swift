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
    private let folders: [HostPath]
    private let isClosed = Mutex(false)
    private let wasStopped = Mutex(false)
    private let watch = Mutex<Task<Void, Never>?>(nil)
    private let onClose: @Sendable (GuestFSSession) -> Void

    /// Opens the image; blocks for a moment.
    init(
        _ image: DiskImage, _ mode: AccessMode, usesKVM: Bool, onClose: @escaping @Sendable (GuestFSSession) -> Void
    ) throws {
        self.mode = mode
        self.onClose = onClose
        let folder = try RunScope.makeProcessFolder("guestfs")
        do {
            let short = try RunScope.makeProcessFolder("gfs", short: true)
            folders = [folder, short]
            do {
                core = try GuestFSCore(image, mode, folder: folder, shortFolder: short, usesKVM: usesKVM)
            } catch {
                try? RunScope.removeProcessFolder(short)
                throw error
            }
        } catch {
            try? RunScope.removeProcessFolder(folder)
            throw error
        }
        worker = BlockingWorker("libguestfs session of \(image.path)")
    }

    func volumes() async throws -> [Volume] { try await perform("disk.volumes") { $0.volumes } }

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
        if worker.isWedged { free() }
        let isDone = await worker.cleanUp(within: .seconds(10)) { [core] in core.close() }
        if !isDone { free() }
        let folders = folders
        let result = await onOwnThread {
            Result { for folder in folders { try RunScope.removeProcessFolder(folder) } }
        }
        try result.get()
    }

    /// Runs blocking work on the session's thread; past the deadline the appliance is killed, and the session is lost.
    func perform<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (GuestFSCore) throws -> Value
    ) async throws -> Value {
        if isClosed.withLock({ $0 }) { throw BackendError(.invalidState, operation, "the session is closed") }
        do {
            return try await worker.call(operation) { [core] in try body(core) }
        } catch var error as BackendError {
            if error.code == .timeout { free() }
            if error.code == .crashed, wasStopped.withLock({ $0 }) {
                error.message = "the appliance was stopped, and therefore killed"
            }
            throw error
        }
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

    /// Frees the worker from a call that hangs: without its QEMU every call of libguestfs ends.
    private func free() { Appliance.kill(using: core.socket) }

    /// Looks now and then whether somebody stopped the appliance: it answers nothing then, and never dies.
    private func startWatch() {
        watch.withLock { task in
            guard task == nil else { return }
            task = Task { [core] in
                var looksStopped = 0
                while (try? await Task.sleep(for: .seconds(1))) != nil {
                    looksStopped = Appliance.isStopped(using: core.socket) ? looksStopped + 1 : 0
                    if looksStopped == 2 {
                        self.wasStopped.withLock { $0 = true }
                        self.free()
                    }
                }
            }
        }
    }
}
