import Abstractions
import Runner
import Synchronization

/// Shows several runs as they go: a line as each ends, and on a terminal one live line that says how many there are.
final class SeveralRunsProgress: Sendable {
    private struct State {
        var running = 0
        var done = 0
        var isLive = false
    }

    private let count: Int
    private let isTerminal = Terminal.isTerminal(2)
    private let hasColour = Terminal.hasColour
    private let start = ContinuousClock.now
    private let state = Mutex(State())

    /// For so many runs.
    init(of count: Int) { self.count = count }

    /// Takes an event; any thread.
    func show(_ event: Batch.Event) {
        state.withLock { state in
            switch event {
            case .began: state.running += 1
            case .ended(let run):
                if run.ms != nil { state.running -= 1 }
                state.done += 1
                line(&state, run)
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
            if state.isLive { Terminal.overwrite("") }
            state.isLive = false
        }
    }

    private func redraw(_ state: inout State) {
        guard isTerminal else { return }
        let passed = start.duration(to: .now).milliseconds
        Terminal.overwrite("  running \(state.running), done \(state.done) of \(count)  \(RunSummary.time(passed))")
        state.isLive = true
    }

    private func line(_ state: inout State, _ run: BatchResult.Run) {
        if state.isLive { Terminal.overwrite("") }
        state.isLive = false
        let isGood = run.status == .passed
        let sign = isGood ? "+" : "!"
        let mark = hasColour ? "\u{1b}[\(isGood ? 32 : 31)m\(sign)\u{1b}[0m" : sign
        let status = run.status.rawValue
        let padded = status + String(repeating: " ", count: max(0, 11 - status.count))
        let parts = [
            "\(mark) \(padded)", run.name, run.ms.map(RunSummary.time), "(\(state.done) of \(count))",
            run.why.map { Terminal.printable($0) },
        ]
        Terminal.talk(parts.compactMap(\.self).joined(separator: " "))
    }
}
