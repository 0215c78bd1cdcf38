import Abstractions
import Synchronization

/// What a chain of backends went through: who was passed over, and who did the work.
///
/// One log may serve several chains; it is safe from any task.
public final class FallbackLog: Sendable {
    private struct State {
        var rejections: [Rejection] = []
        var used: [String] = []
    }
    private let state = Mutex(State())
    private let began = ContinuousClock.now
    private let onRejection: @Sendable (Rejection) -> Void

    /// Starts empty.
    ///
    /// - Parameter onRejection: told of each rejection at once, for an event stream; must return at once.
    public init(onRejection: @escaping @Sendable (Rejection) -> Void = { _ in }) {
        self.onRejection = onRejection
    }

    /// Everybody who was passed over, in the order it happened.
    public var rejections: [Rejection] { state.withLock { $0.rejections } }

    /// The backends that were put to work, in the order they were; the last one is at work now.
    public var used: [String] { state.withLock { $0.used } }

    func reject(_ error: BackendError, backend: String, operation: String) {
        let passed = began.duration(to: .now).inSeconds
        let rejection = Rejection(error, backend: backend, operation: operation, seconds: passed)
        state.withLock { $0.rejections.append(rejection) }
        onRejection(rejection)
    }

    func use(_ backend: String) {
        state.withLock { state in
            if state.used.last != backend { state.used.append(backend) }
        }
    }
}
