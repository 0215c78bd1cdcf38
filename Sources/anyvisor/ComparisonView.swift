import Abstractions
import Comparison
import Synchronization

/// A comparison under way: on a terminal one line that changes, else a line a block.
final class ComparisonView: Sendable {
    private struct State {
        var now = ""
        var intervals = ""
        var isLineOpen = false
    }

    private let design: Design
    private let isTerminal = Terminal.isTerminal(2)
    private let start = ContinuousClock.now
    private let state = Mutex(State())

    init(_ design: Design) { self.design = design }

    func show(_ event: ComparisonRun.Event) {
        state.withLock { state in
            switch event {
            case .measuring(let block, let all, let cell):
                state.now = "block \(block + 1) of \(all)\(left(block, all)): \(cell)"
                if isTerminal { overwrite(&state) }
            case .measured(let sample):
                guard let why = sample.why else { return }
                closeLine(&state)
                Terminal.talk("  block \(sample.block + 1), \(sample.cell): \(Terminal.printable(why))")
            case .intervals(let pairs):
                let best = pairs.first?.first
                state.intervals = pairs.filter { $0.first == best }.prefix(3).map {
                    "\($0.second) / \($0.first) \($0.ratio) (\($0.low) to \($0.high))"
                }.joined(separator: ", ")
                guard !isTerminal else { return overwrite(&state) }
                Terminal.talk(Terminal.printable("\(state.now) done; \(state.intervals)"))
            }
        }
    }

    /// Ends the line.
    func finish() { state.withLock { closeLine(&$0) } }

    private func left(_ block: Int, _ all: Int) -> String {
        guard block > 0 else { return "" }
        let seconds = start.duration(to: .now).inSeconds / Double(block) * Double(all - block)
        return ", \(Int(seconds / 60)) min left"
    }

    private func overwrite(_ state: inout State) {
        Terminal.overwrite(Terminal.printable([state.now, state.intervals].joined(separator: "; ")))
        state.isLineOpen = true
    }

    private func closeLine(_ state: inout State) {
        if state.isLineOpen { Terminal.talk("") }
        state.isLineOpen = false
    }
}
