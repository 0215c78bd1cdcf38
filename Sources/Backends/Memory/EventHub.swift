import Abstractions
import Synchronization

/// Hands the events of one machine to every stream that is open.
final class EventHub: Sendable {
    private struct State {
        var streams: [Int: AsyncStream<MachineEvent>.Continuation] = [:]
        var next = 0
        var last: MachineEvent?
    }
    private let state = Mutex(State())

    /// A stream that starts with the next event; after the last one it holds just that.
    func stream() -> AsyncStream<MachineEvent> {
        let (stream, continuation) = AsyncStream.makeStream(of: MachineEvent.self)
        let (number, last) = state.withLock { state in
            state.next += 1
            if state.last == nil { state.streams[state.next] = continuation }
            return (state.next, state.last)
        }
        if let last {
            continuation.yield(last)
            continuation.finish()
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.streams.removeValue(forKey: number) }
        }
        return stream
    }

    /// Hands out an event.
    func send(_ event: MachineEvent) {
        for stream in state.withLock({ Array($0.streams.values) }) { stream.yield(event) }
    }

    /// Hands out the last event and ends all streams.
    func end(_ event: MachineEvent) {
        let streams = state.withLock { state in
            state.last = event
            defer { state.streams = [:] }
            return Array(state.streams.values)
        }
        for stream in streams {
            stream.yield(event)
            stream.finish()
        }
    }
}
