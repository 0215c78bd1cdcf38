import Abstractions
import Synchronization

/// The backends that were given up, with the phase in which it happened.
final class Rejections: Sendable {
    private let log: EventLog
    private let state: Mutex<(all: [RejectedBackend], phase: String)>

    init(_ log: EventLog) {
        self.log = log
        state = Mutex(([], "resolve"))
    }

    var all: [RejectedBackend] { state.withLock { $0.all } }

    func enter(_ phase: String) { state.withLock { $0.phase = phase } }

    func add(_ kind: BackendKind, _ name: String, _ error: BackendError) {
        let phase = state.withLock {
            $0.all.append(
                RejectedBackend(kind: kind, backend: name, during: $0.phase, error: error, afterMs: log.elapsedMs))
            return $0.phase
        }
        log.add(.rejected) {
            $0.phase = phase
            $0.backend = name
            $0.status = error.code.rawValue
            $0.message = error.message
        }
    }
}
