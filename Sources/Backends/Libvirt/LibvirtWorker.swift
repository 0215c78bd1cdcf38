import Abstractions
import BackendSupport
import Synchronization

/// A thread for the calls of one object, and a new one behind a call that hangs.
///
/// `BlockingWorker` is of no more use once a call was abandoned. libvirt's objects are: a call that hangs on one machine's QEMU
/// keeps nobody else from asking.
final class LibvirtWorker: Sendable {
    private let name: String
    private struct State {
        var worker: BlockingWorker?
        var isClosed = false
    }
    private let state = Mutex(State())

    init(_ name: String) { self.name = name }

    /// Whether the thread of the last call still hangs in it.
    var isWedged: Bool { state.withLock { $0.worker?.isWedged ?? false } }

    /// Runs `body` on the thread.
    ///
    /// - Parameter abandoned: runs on the same thread right after `body`, when nobody waited for it any more.
    /// - Throws: what `body` throws; `timeout`; `invalidState` after `close`.
    func call<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () throws -> Value,
        abandoned: (@Sendable () -> Void)? = nil
    ) async throws -> Value {
        let worker = try current(operation)
        do {
            return try await worker.call(operation, body)
        } catch {
            if let abandoned { worker.enqueue(abandoned) }
            throw error
        }
    }

    /// Ends the thread after what is queued; idempotent.
    func close() {
        state.withLock { state in
            state.isClosed = true
            state.worker?.close()
            state.worker = nil
        }
    }

    private func current(_ operation: String) throws -> BlockingWorker {
        try state.withLock { state in
            guard !state.isClosed else { throw BackendError(.invalidState, operation, "\(name) is closed") }
            if let worker = state.worker, !worker.isWedged { return worker }
            state.worker?.close()
            let worker = BlockingWorker(name)
            state.worker = worker
            return worker
        }
    }
}
