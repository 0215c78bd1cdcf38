import Statistics

/// The answer of a comparison in a sentence.
struct Verdict {
    private let summary: Summary

    init(_ summary: Summary) { self.summary = summary }

    var sentence: String {
        let name = summary.design.quantity
        guard let quantity = summary.quantities.first(where: { $0.name == name }), let best = quantity.cells.first
        else { return "Nothing can be said: no cell has a good measurement of \(name)." }
        let failed = summary.cells.map(\.cell.name).filter { cell in !quantity.cells.contains { $0.cell == cell } }
        let missing = failed.isEmpty ? "" : " Without a measurement: \(failed.joined(separator: ", "))."
        guard quantity.cells.count > 1 else { return "Only \(best.cell) has measurements of \(name).\(missing)" }
        let pairs = quantity.pairs.filter { $0.first == best.cell }
        guard !pairs.isEmpty else { return "There are too few blocks to say anything of \(name).\(missing)" }
        let (clear, same) = (pairs.filter(\.isDifferent), pairs.filter { !$0.isDifferent })
        var sentences: [String] = []
        if !clear.isEmpty {
            let verb = quantity.isLessBetter ? "needs" : "reaches"
            let list = clear.map { "\($0.second) \(verb) \(times($0))" }.joined(separator: ", ")
            sentences.append("\(list) the \(name) of \(best.cell).")
        }
        if !same.isEmpty {
            let list = same.map { "\($0.second), \(times($0))" }.joined(separator: "; ")
            let found =
                summary.blocks < summary.leastBlocks ? "can be shown with \(summary.blocks) blocks" : "is found"
            sentences.append("No difference in \(name) \(found) between \(best.cell) and \(list).")
        }
        return sentences.joined(separator: " ") + missing
    }

    private func times(_ pair: Summary.Pair) -> String {
        "\(Rounded.text(pair.ratio)) times (\(Rounded.text(pair.low)) to \(Rounded.text(pair.high)))"
    }
}

/// What a reader has to know before he believes the numbers.
struct Warnings {
    private let summary: Summary
    private let samples: [Sample]

    init(_ summary: Summary, _ samples: [Sample]) {
        self.summary = summary
        self.samples = samples
    }

    var all: [String] { [blocks, failures, load, steal, throttling, drift, findings].compactMap(\.self) }

    private var blocks: String? {
        if summary.blocks < summary.leastBlocks {
            return
                "too few blocks (\(summary.blocks)): with fewer than \(summary.leastBlocks) no difference can be shown, however large it is"
        }
        return summary.blocks < Analysis.fewBlocks
            ? "few blocks (\(summary.blocks)): below \(Analysis.fewBlocks) the intervals are rough" : nil
    }

    private var failures: String? {
        let failed = summary.cells.filter { $0.failed > 0 }.map { "\($0.cell.name) \($0.failed)" }
        return failed.isEmpty ? nil : "measurements failed: \(failed.joined(separator: ", "))"
    }

    /// The load before the first sample: later it is the comparison's own.
    private var load: String? {
        guard let host = summary.environments.first, let load = host.load.first, load > 0.5 * Double(host.cores)
        else { return nil }
        return "the host was busy before it began: a load of \(Rounded.text(load)) on \(host.cores) cores"
    }

    private var steal: String? {
        let seconds = samples.reduce(0) { $0 + Double($1.ms) / 1000 }
        let part = seconds > 0 ? samples.reduce(0) { $0 + $1.steal } / seconds * 100 : 0
        return part > 1
            ? "this host had to wait for its own processors: \(Rounded.text(Rounded.number(part, digits: 2))) % of the time"
            : nil
    }

    private var throttling: String? {
        guard let first = summary.environments.first?.throttles, let last = summary.environments.last?.throttles,
            last > first
        else { return nil }
        return "the processor was slowed down because it was hot: \(last - first) times"
    }

    private var drift: String? {
        guard let quantity = summary.quantities.first, quantity.driftP < 0.01 else { return nil }
        return
            "\(quantity.name) \(quantity.driftTau > 0 ? "rose" : "fell") while it was measured (tau \(Rounded.text(quantity.driftTau)), p \(Rounded.text(quantity.driftP))); blocks keep that out of the ratios, not out of the medians"
    }

    private var findings: String? {
        let cells = Set(summary.findings.map(\.cell)).sorted()
        return cells.isEmpty ? nil : "the raw data differs on \(cells.joined(separator: ", "))"
    }
}

extension Summary {
    /// With fewer blocks no difference can be shown, however large it is.
    fileprivate var leastBlocks: Int { Holm.leastDifferences(comparisons: quantities.first?.pairs.count ?? 1) }
}
