/// `report.html`: one file that needs no other, for a screen of any width and for paper.
struct HTMLReport {
    private let summary: Summary
    private let plots: [Plots.Plot]

    init(_ summary: Summary, _ plots: [Plots.Plot]) {
        self.summary = summary
        self.plots = plots
    }

    var text: String {
        let title = Self.escaped(summary.design.name)
        let warnings = summary.warnings.map { "<li>\(Self.escaped($0))</li>" }.joined()
        let quantities = summary.quantities
        let chosen = quantities.first.map { section($0) } ?? ""
        let others = quantities.dropFirst().map { quantity in
            "<details><summary>\(Self.escaped(quantity.name))</summary>\(tables(quantity))</details>"
        }.joined(separator: "\n")
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(title)</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <main>
            <h1>\(title)</h1>
            <p class="verdict">\(Self.escaped(summary.verdict))</p>
            \(warnings.isEmpty ? "" : "<ul class=\"warnings\">\(warnings)</ul>")
            \(chosen)
            \(findings)
            \(others.isEmpty ? "" : "<h2>Every other quantity</h2>\n\(others)")
            <h2>What was measured</h2>
            \(Self.table(ReportTables.cells(summary), isText: true))
            <h2>How and where</h2>
            \(Self.table(ReportTables.conditions(summary), hasHead: false, isText: true))
            <p>Ratios are medians over the blocks, their intervals come from resampled blocks, p from Wilcoxon's test, corrected by Holm.
            Nothing was left out.</p>
            </main>
            </body>
            </html>

            """
    }

    private func section(_ quantity: Summary.QuantitySummary) -> String {
        let figures = plots.map { plot in
            "<figure>\(plot.svg)<figcaption>\(Self.escaped(plot.caption))</figcaption></figure>"
        }.joined(separator: "\n")
        return "<h2>\(Self.escaped(quantity.name))</h2>\n\(tables(quantity))\n\(figures)"
    }

    private func tables(_ quantity: Summary.QuantitySummary) -> String {
        Self.table(ReportTables.ranking(quantity))
            + (quantity.pairs.isEmpty ? "" : Self.table(ReportTables.pairs(quantity)))
    }

    private var findings: String {
        guard !summary.findings.isEmpty else { return "" }
        return "<h2>What differs in the raw data</h2>\n"
            + Self.table(ReportTables.findings(summary.findings), isText: true)
    }

    private static func table(_ rows: [[String]], hasHead: Bool = true, isText: Bool = false) -> String {
        let head = rows.first?.map { "<th scope=\"col\">\(escaped($0))</th>" }.joined() ?? ""
        let body = rows.dropFirst().map { row in
            let cells = row.enumerated().map { place, text in
                place == 0 ? "<th scope=\"row\">\(escaped(text))</th>" : "<td>\(escaped(text))</td>"
            }
            return "<tr>\(cells.joined())</tr>"
        }.joined(separator: "\n")
        return
            "<div class=\"wide\(isText ? " text" : "")\"><table>\(hasHead ? "<thead><tr>\(head)</tr></thead>" : "")<tbody>\(body)</tbody></table></div>"
    }

    static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
    }

    private static let style = """
        :root { color-scheme: light dark; }
        body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
        main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
        .verdict { font-size: 1.25rem; font-weight: 600; }
        .warnings { border-left: 4px solid #c60; padding-left: 1.5rem; }
        .wide { overflow-x: auto; margin: 0 0 1rem; }
        table { border-collapse: collapse; font-size: 0.9rem; }
        th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #8886; text-align: left; vertical-align: top; white-space: nowrap; }
        .text td, .text tbody th { white-space: normal; overflow-wrap: anywhere; }
        figure { margin: 1rem 0; }
        figure svg { width: 100%; height: auto; background: #fff; }
        figcaption { font-size: 0.9rem; }
        @media print { main { max-width: none; } details > * { display: block; } .wide { overflow: visible; } }
        """
}
