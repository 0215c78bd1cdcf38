import Abstractions
import FoundationEssentials
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Numbers events, shows them and keeps them.
final class EventLog: Sendable {
    private struct Contents {
        var sequence = 0
        var file: Int32 = -1
        var pending: [UInt8] = []
    }

    let attempt: String
    let start = ContinuousClock.now
    private let observer: @Sendable (RunEvent) -> Void
    private let contents = Mutex(Contents())

    init(attempt: String, observer: @escaping @Sendable (RunEvent) -> Void) {
        self.attempt = attempt
        self.observer = observer
    }

    deinit { contents.withLock { if $0.file >= 0 { close($0.file) } } }

    var elapsedMs: Int64 { start.duration(to: .now).milliseconds }

    /// Keeps events in a file from now on, those of before too.
    ///
    /// - Throws: what the host says.
    func keep(in path: HostPath) throws {
        let descriptor = open(path.string, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw hostError("events", "cannot make \(path)") }
        contents.withLock {
            $0.file = descriptor
            try? HostFiles.writeAll(descriptor, $0.pending, path)
            $0.pending = []
        }
    }

    /// Adds an event; `fill` sets what it tells.
    func add(_ kind: RunEvent.Kind, _ fill: (inout RunEvent) -> Void = { _ in }) {
        var event = RunEvent(
            seq: 0, attempt: attempt, timeMs: WallClock.now, sinceStartMs: elapsedMs, kind: kind)
        fill(&event)
        // Under the lock, so that numbers, the file and what is shown have one order.
        contents.withLock { contents in
            if kind != .progress {
                contents.sequence += 1
                event.seq = contents.sequence
                let line = ((try? JSONText.encode(event, pretty: false)) ?? []) + [0x0a]
                if contents.file >= 0 {
                    try? HostFiles.writeAll(contents.file, line, "events.jsonl")
                } else {
                    contents.pending += line
                }
            }
            observer(event)
        }
    }

    func note(_ message: String) { add(.note) { $0.message = message } }
}

/// JSON as this program writes it: sorted keys, slashes as they are.
enum JSONText {
    static func encode(_ value: some Encodable, pretty: Bool) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting =
            pretty ? [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes] : [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }
}
