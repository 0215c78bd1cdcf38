/// `report.md`: the verdict, the ranking, every pair, every quantity, and where the numbers come from.
struct MarkdownReport {
    private let summary: Summary

    init(_ summary: Summary) { self.summary = summary }

    var text: String {
        var parts = ["# \(summary.design.name)", summary.verdict]
        if !summary.warnings.isEmpty {
            parts.append(summary.warnings.map { "- **\(Self.plain($0))**" }.joined(separator: "\n"))
        }
        for (place, quantity) in summary.quantities.enumerated() {
            parts.append("## \(Self.plain(quantity.name))" + (place == 0 ? ", by which cells are ranked" : ""))
            parts.append(Self.table(ReportTables.ranking(quantity)))
            if !quantity.pairs.isEmpty { parts.append(Self.table(ReportTables.pairs(quantity))) }
        }
        if !summary.findings.isEmpty {
            parts += ["## What differs in the raw data", Self.table(ReportTables.findings(summary.findings))]
        }
        parts += ["## What was measured", Self.table(ReportTables.cells(summary))]
        parts += ["## How and where", Self.table(ReportTables.conditions(summary))]
        return parts.joined(separator: "\n\n") + "\n"
    }

    private static func table(_ rows: [[String]]) -> String {
        guard let head = rows.first else { return "" }
        let lines = rows.map { "| " + $0.map(plain).joined(separator: " | ") + " |" }
        return ([lines[0], "|" + head.map { _ in "---|" }.joined()] + lines.dropFirst()).joined(separator: "\n")
    }

    /// Text of a guest or a host must not become markup, nor end a cell.
    private static func plain(_ text: String) -> String {
        String(
            text.flatMap { character -> [Character] in
                if character.isNewline { return [" "] }
                return "|\\`*_<>[]#".contains(character) ? ["\\", character] : [character]
            })
    }
}

/// The tables that both reports show; the first row is the head.
enum ReportTables {
    static func ranking(_ quantity: Summary.QuantitySummary) -> [[String]] {
        let unit = quantity.unit.isEmpty ? "" : " (\(quantity.unit))"
        let head = [
            "cell", "median\(unit)", "quartiles", "least", "most", "n", "times the best", "95 % interval",
            "far values in blocks",
        ]
        return [head]
            + quantity.cells.map { cell in
                let pair = quantity.pairs.first { $0.first == quantity.cells.first?.cell && $0.second == cell.cell }
                return [
                    cell.cell, number(cell.median), "\(number(cell.lowerQuartile)) to \(number(cell.upperQuartile))",
                    number(cell.least), number(cell.most), "\(cell.count)", pair.map { number($0.ratio) } ?? "",
                    pair.map { "\(number($0.low)) to \(number($0.high))" } ?? "",
                    cell.outlierBlocks.map { "\($0)" }.joined(separator: ", "),
                ]
            }
    }

    static func pairs(_ quantity: Summary.QuantitySummary) -> [[String]] {
        [["second / first", "ratio", "95 % interval", "blocks", "p", "p, Holm", "effect", "different"]]
            + quantity.pairs.map { pair in
                [
                    "\(pair.second) / \(pair.first)", number(pair.ratio), "\(number(pair.low)) to \(number(pair.high))",
                    "\(pair.blocks)", number(pair.p), number(pair.adjustedP), number(pair.effect),
                    pair.isDifferent ? "yes" : "not shown",
                ]
            }
    }

    static func findings(_ findings: [Finding]) -> [[String]] {
        [["only on", "compared with", "first in block", "in blocks", "what"]]
            + findings.map { [$0.cell, $0.reference, "\($0.block)", "\($0.blocks)", $0.what] }
    }

    static func cells(_ summary: Summary) -> [[String]] {
        [["cell", "good", "failed", "why"]]
            + summary.cells.map { cell in
                let reasons = cell.reasons.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value))" }
                return [cell.cell.name, "\(cell.good)", "\(cell.failed)", reasons.joined(separator: "; ")]
            }
    }

    static func conditions(_ summary: Summary) -> [[String]] {
        let design = summary.design
        var rows = [
            ["", ""], ["blocks that count", "\(summary.blocks)"], ["warm-up blocks", "\(design.warmUpBlocks)"],
            ["seed", "\(design.seed)"],
        ]
        rows += design.factors.map { [$0.name, $0.levels.joined(separator: ", ")] }
        if let recipe = design.recipe { rows.append(["recipe", "\(recipe) \(design.recipeHash ?? "")"]) }
        guard let first = summary.environments.first, let last = summary.environments.last else { return rows }
        rows += [
            ["processor", first.cpu], ["cores", "\(first.cores)"], ["memory (bytes)", "\(first.memory)"],
            ["kernel", first.kernel], ["clock's governor", first.governor ?? "not known"],
            ["this host is a virtual machine", first.isNested ? "yes" : "no"],
            ["load before", first.load.map(number).joined(separator: ", ")],
            ["load after", last.load.map(number).joined(separator: ", ")],
            ["processor's flags", first.cpuFlags],
        ]
        rows += last.versions.sorted { $0.key < $1.key }.map { [$0.key, $0.value] }
        rows += last.images.sorted { $0.key < $1.key }.map { ["image \($0.key)", $0.value] }
        return rows
    }

    private static func number(_ value: Double) -> String { Rounded.text(value) }
}
