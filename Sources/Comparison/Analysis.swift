import Abstractions
import Host
import Statistics

#if canImport(Glibc)
    import Glibc
#endif

/// Computes what samples say; the same samples always give the same.
public struct Analysis {
    private let design: Design
    private let samples: [Sample]
    private let environments: [HostFacts]
    private let findings: [Finding]

    /// With fewer blocks than this an interval is rough.
    static let fewBlocks = 10

    init(_ design: Design, _ samples: [Sample], _ environments: [HostFacts] = [], _ findings: [Finding] = []) {
        self.design = design
        self.samples = samples.filter { !$0.isWarmUp }
        self.environments = environments
        self.findings = findings
    }

    /// What the lines of `raw.jsonl` say.
    ///
    /// - Throws: `corrupt` when they have no design.
    public init(_ lines: [RawLine]) throws {
        guard let design = lines.lazy.compactMap(\.design).first else {
            throw BackendError(.corrupt, "compare", "\(RawLog.name) does not begin with a design", blame: .caller)
        }
        self.init(
            design, lines.compactMap(\.sample), lines.compactMap(\.environment),
            lines.last { $0.findings != nil }?.findings ?? [])
    }

    /// All of it.
    public func summary() -> Summary {
        let quantities = names.map { quantity($0) }
        let blocks = Set(samples.map(\.block)).count
        var summary = Summary(
            verdict: "", warnings: [], design: design, blocks: blocks, environments: environments,
            cells: design.cells.map(count), quantities: quantities, findings: findings)
        summary.warnings = Warnings(summary, samples).all
        summary.verdict = Verdict(summary).sentence
        return summary
    }

    /// Each two cells in one quantity, the better first.
    func pairs(of quantity: String) -> [Summary.Pair] {
        let cells = ranked(quantity).map(\.cell)
        var pairs: [Summary.Pair] = []
        for (place, first) in cells.enumerated() {
            for second in cells[(place + 1)...] {
                let (one, two) = paired(quantity, first, second)
                guard one.count >= 2 else { continue }
                var generator = generator("\(quantity) \(first) \(second)")
                let found = PairedRatio(one, two, using: &generator)
                pairs.append(
                    Summary.Pair(
                        first: first, second: second, blocks: one.count, ratio: Rounded.number(found.ratio),
                        low: Rounded.number(found.low), high: Rounded.number(found.high), p: found.test.p,
                        adjustedP: 1, effect: Rounded.number(found.test.effect, digits: 3), isDifferent: false))
            }
        }
        for (index, adjusted) in Holm.adjusted(pairs.map(\.p)).enumerated() {
            pairs[index].isDifferent = adjusted < 0.05
            pairs[index].adjustedP = Rounded.number(adjusted, digits: 2)
            pairs[index].p = Rounded.number(pairs[index].p, digits: 2)
        }
        return pairs
    }

    /// After how many blocks to look again whether the intervals are narrow enough; nil when they are.
    func nextLook() -> Int? {
        guard let halfWidth = design.halfWidth else { return nil }
        let rule = StoppingRule(target: halfWidth)
        let cells = design.cells.map(\.name)
        var looks: [Int] = []
        for (place, first) in cells.enumerated() {
            for second in cells[(place + 1)...] {
                let (one, two) = paired(design.quantity, first, second)
                var generator = generator("look \(first) \(second) \(one.count)")
                if one.count >= 2, let look = rule.nextLook(one, two, using: &generator) { looks.append(look) }
            }
        }
        return looks.max()
    }

    private func generator(_ text: String) -> SeededGenerator {
        SeededGenerator(seed: design.seed, stream: stableHash(text))
    }

    /// The chosen quantity, then all others by name.
    private var names: [String] {
        let all = samples.reduce(into: Set<String>()) { $0.formUnion($1.values.keys) }
        return (all.contains(design.quantity) ? [design.quantity] : []) + all.subtracting([design.quantity]).sorted()
    }

    /// The values of both in the blocks in which both have one that a ratio can be made of.
    private func paired(_ quantity: String, _ first: String, _ second: String) -> ([Double], [Double]) {
        let (one, two) = (values(quantity, first), values(quantity, second))
        let blocks = one.keys.filter { (one[$0] ?? 0) > 0 && (two[$0] ?? 0) > 0 }.sorted()
        return (blocks.compactMap { one[$0] }, blocks.compactMap { two[$0] })
    }

    private func values(_ quantity: String, _ cell: String) -> [Int: Double] {
        let found = samples.filter { $0.cell == cell && $0.isGood }.compactMap { sample in
            sample.values[quantity].map { (sample.block, $0.value) }
        }
        return Dictionary(found) { $1 }
    }

    private func count(_ cell: Cell) -> Summary.CellCount {
        let mine = samples.filter { $0.cell == cell.name }
        let reasons = mine.filter { !$0.isGood }.map { ($0.why ?? "no reason given", 1) }
        return Summary.CellCount(
            cell: cell, good: mine.count(where: \.isGood), failed: reasons.count,
            reasons: Dictionary(reasons, uniquingKeysWith: +))
    }

    private func quantity(_ name: String) -> Summary.QuantitySummary {
        let unit = unit(of: name)
        let drift = DriftTest(residuals(name))
        return Summary.QuantitySummary(
            name: name, unit: unit == "bytes" ? "MiB" : unit, isLessBetter: isLessBetter(name), cells: ranked(name),
            pairs: pairs(of: name), driftTau: Rounded.number(drift.tau, digits: 2),
            driftP: Rounded.number(drift.p, digits: 2))
    }

    private func unit(of quantity: String) -> String {
        samples.lazy.compactMap { $0.values[quantity]?.unit }.first ?? ""
    }

    /// A rate is the better the more it is.
    private func isLessBetter(_ quantity: String) -> Bool { !unit(of: quantity).contains("/") }

    /// Each cell that has the quantity, the best first.
    private func ranked(_ quantity: String) -> [Summary.CellValues] {
        let factor = unit(of: quantity) == "bytes" ? 1.0 / 1_048_576 : 1
        let isLessBetter = isLessBetter(quantity)
        return design.cells.compactMap { cell -> Summary.CellValues? in
            let found = values(quantity, cell.name).sorted { $0.key < $1.key }
            guard !found.isEmpty else { return nil }
            let numbers = found.map { $0.value * factor }
            func quantile(_ part: Double) -> Double { Rounded.number(Order.quantile(numbers, part)) }
            let outliers = numbers.allSatisfy { $0 > 0 } ? Order.outliers(numbers) : []
            return Summary.CellValues(
                cell: cell.name, count: numbers.count, median: quantile(0.5), lowerQuartile: quantile(0.25),
                upperQuartile: quantile(0.75), least: quantile(0), most: quantile(1),
                outlierBlocks: outliers.map { found[$0].key })
        }.sorted { isLessBetter ? $0.median < $1.median : $0.median > $1.median }
    }

    /// What is left of each value's logarithm without its cell's median, in the order of measuring.
    private func residuals(_ quantity: String) -> [Double] {
        let logs = samples.filter(\.isGood).compactMap { sample -> (cell: String, order: (Int, Int), log: Double)? in
            guard let value = sample.values[quantity]?.value, value > 0 else { return nil }
            return (sample.cell, (sample.block, sample.place), log(value))
        }
        let middles = Dictionary(grouping: logs, by: \.cell).mapValues { Order.median($0.map(\.log)) }
        return logs.sorted { $0.order < $1.order }.map { $0.log - (middles[$0.cell] ?? 0) }
    }
}

/// Numbers with as many digits as they are worth.
enum Rounded {
    /// The number with so many significant digits.
    static func number(_ value: Double, digits: Int = 4) -> Double {
        guard value != 0, value.isFinite else { return value }
        let shift = digits - 1 - Int(floor(log10(abs(value))))
        // A power of ten above 1 is exact, so the quotient is the number nearest to the digits.
        let power = pow(10, Double(abs(shift)))
        return shift >= 0 ? (value * power).rounded() / power : (value / power).rounded() * power
    }

    /// Its text: 1.031, 12, 0.0004.
    static func text(_ value: Double) -> String {
        if value == value.rounded(), abs(value) < 1e15 { return "\(Int64(value))" }
        return "\(value)"
    }
}
