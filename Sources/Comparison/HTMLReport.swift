/// `report.html`: one file that needs no other, for a screen of any width and for paper.
struct HTMLReport {
    private let summary: Summary
    private let plots: [Plots.Plot]

    init(_ summary: Summary, _ plots: [Plots.Plot]) {
        self.summary = summary
        self.plots = plots
    }

    var text: String {
        let warnings = summary.warnings.map { "<li>\(HTMLPage.escaped($0))</li>" }.joined()
        let quantities = summary.quantities
        let chosen = quantities.first.map { section($0) } ?? ""
        let others = quantities.dropFirst().map { quantity in
            "<details><summary>\(HTMLPage.escaped(quantity.name))</summary>\(tables(quantity))</details>"
        }.joined(separator: "\n")
        return HTMLPage.document(
            summary.design.name,
            """
            <p class="verdict">\(HTMLPage.escaped(summary.verdict))</p>
            \(warnings.isEmpty ? "" : "<ul class=\"warnings\">\(warnings)</ul>")
            \(chosen)
            \(findings)
            \(others.isEmpty ? "" : "<h2>Every other quantity</h2>\n\(others)")
            <h2>What was measured</h2>
            \(HTMLPage.table(ReportTables.cells(summary), isText: true))
            <h2>How and where</h2>
            \(HTMLPage.table(ReportTables.conditions(summary), hasHead: false, isText: true))
            <p>Ratios are medians over the blocks, their intervals come from resampled blocks, p from Wilcoxon's test, corrected by Holm.
            Nothing was left out.</p>
            """)
    }

    private func section(_ quantity: Summary.QuantitySummary) -> String {
        let figures = plots.map { plot in
            "<figure>\(plot.svg)<figcaption>\(HTMLPage.escaped(plot.caption))</figcaption></figure>"
        }.joined(separator: "\n")
        return "<h2>\(HTMLPage.escaped(quantity.name))</h2>\n\(tables(quantity))\n\(figures)"
    }

    private func tables(_ quantity: Summary.QuantitySummary) -> String {
        HTMLPage.table(ReportTables.ranking(quantity))
            + (quantity.pairs.isEmpty ? "" : HTMLPage.table(ReportTables.pairs(quantity)))
    }

    private var findings: String {
        guard !summary.findings.isEmpty else { return "" }
        return "<h2>What differs in the raw data</h2>\n"
            + HTMLPage.table(ReportTables.findings(summary.findings), isText: true)
    }
}
