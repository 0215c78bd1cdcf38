import Abstractions
import Synchronization

/// Collects the events of one stream from its first moment on.
final class EventLog: Sendable {
    private struct State {
        var events: [MachineEvent] = []
        var hasEnded = false
    }
    private let state = Mutex(State())
    private let task: Mutex<Task<Void, Never>?> = Mutex(nil)

    init(_ machine: any Machine) {
        let stream = machine.events()
        task.withLock {
            $0 = Task { [weak self] in
                for await event in stream { self?.state.withLock { $0.events.append(event) } }
                self?.state.withLock { $0.hasEnded = true }
            }
        }
    }

    var events: [MachineEvent] { state.withLock { $0.events } }
    var hasEnded: Bool { state.withLock { $0.hasEnded } }

    func wait(for event: MachineEvent) async throws {
        try await eventually("the event \(event)") { self.events.contains(event) }
    }

    func waitForEnd() async throws {
        try await eventually("the end of the event stream") { self.hasEnded }
    }

    deinit { task.withLock { $0?.cancel() } }
}
