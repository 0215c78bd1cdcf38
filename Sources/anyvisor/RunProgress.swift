import Abstractions
import Runner
import Synchronization

/// Shows a run as it goes: on a terminal one live line for each phase and task with the time that passed, elsewhere plain lines.
final class RunProgress: Sendable {
    private struct State {
        var phase: String?
        var phaseStart = ContinuousClock.now
        var task: String?
        var taskStart = ContinuousClock.now
        var bytes: Int64 = 0
        var tasksEnded = 0
        var isLive = false
    }

    private let tasks: Int
    private let isTerminal = Terminal.isTerminal(2)
    private let hasColour = Terminal.hasColour
    private let state = Mutex(State())

    /// For a recipe with so many tasks.
    init(tasks: Int) { self.tasks = tasks }

    /// Takes an event; any thread.
    func show(_ event: RunEvent) {
        state.withLock { state in
            switch event.kind {
            case .phaseStart:
                state.phase = event.phase
                state.phaseStart = .now
                state.bytes = 0
            case .phaseEnd:
                state.phase = nil
                line(
                    &state, mark(event.status == "ok"), event.phase ?? "", event.ms,
                    event.status == "ok" ? nil : event.status)
            case .taskStart:
                state.task = event.task
                state.taskStart = .now
                if !isTerminal { line(&state, " ", "  task \(event.task ?? "")", nil, "started") }
            case .taskEnd:
                state.task = nil
                state.tasksEnded += 1
                line(&state, mark(event.status == "success"), "  task \(event.task ?? "")", event.ms, event.status)
            case .progress: state.bytes = event.bytes ?? 0
            case .rejected:
                line(&state, mark(false), "\(event.backend ?? "") is passed over", nil, event.message)
            case .note: line(&state, " ", "note", nil, event.message)
            case .guestError: line(&state, mark(false), "guest", nil, event.message)
            case .runStart, .runEnd, .guestReady, .guestDone, .machineEnd: break
            }
            redraw(&state)
        }
    }

    /// Redraws the live line four times a second until it is cancelled.
    func tick() async {
        guard isTerminal else { return }
        while (try? await Task.sleep(for: .milliseconds(250))) != nil { state.withLock { redraw(&$0) } }
    }

    /// Takes the live line away.
    func finish() {
        state.withLock { state in
            state.phase = nil
            if state.isLive { Terminal.overwrite("") }
            state.isLive = false
        }
    }

    private func redraw(_ state: inout State) {
        guard isTerminal, let phase = state.phase else { return }
        var text = "  \(padded(phase)) \(time(since: state.phaseStart))"
        if state.bytes > 0 { text += "  \(ByteCount(state.bytes))" }
        if let task = state.task {
            text +=
                "  task \(state.tasksEnded + 1) of \(tasks): \(Terminal.printable(task)) \(time(since: state.taskStart))"
        }
        Terminal.overwrite(String(text.prefix(110)))
        state.isLive = true
    }

    private func line(_ state: inout State, _ mark: String, _ what: String, _ ms: Int64?, _ more: String?) {
        if state.isLive { Terminal.overwrite("") }
        state.isLive = false
        let parts = [padded(Terminal.printable(what)), ms.map(RunSummary.time), more.map { Terminal.printable($0) }]
        Terminal.talk("\(mark) " + parts.compactMap { $0 }.joined(separator: " "))
    }

    private func mark(_ isGood: Bool) -> String {
        let sign = isGood ? "+" : "!"
        return hasColour ? "\u{1b}[\(isGood ? 32 : 31)m\(sign)\u{1b}[0m" : sign
    }

    private func padded(_ text: String) -> String {
        text + String(repeating: " ", count: max(0, 16 - text.count))
    }

    private func time(since start: ContinuousClock.Instant) -> String {
        "\(Double(start.duration(to: .now).milliseconds / 100) / 10) s"
    }
}
