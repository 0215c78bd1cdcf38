import Abstractions
import Host

/// Pictures of the chosen quantity, drawn by gnuplot as SVG.
struct Plots {
    /// A picture.
    struct Plot: Sendable {
        /// The `svg` element.
        var svg: String
        /// What it shows.
        var caption: String
    }

    private let summary: Summary
    private let samples: [Sample]

    init(_ summary: Summary, _ samples: [Sample]) {
        self.summary = summary
        self.samples = samples.filter { !$0.isWarmUp && $0.isGood }
    }

    /// All pictures that there are values for.
    ///
    /// - Parameter folder: where gnuplot's script stands meanwhile.
    /// - Throws: `unavailable` when gnuplot is not installed, `internal` with its words when it fails.
    func drawn(in folder: HostPath) async throws -> [Plot] {
        guard let quantity = summary.quantities.first, !quantity.cells.isEmpty else { return [] }
        let scripts = [
            quantity.pairs.isEmpty
                ? nil : (ratios(quantity), "Ratio of each pair with its 95 % interval; 1 is no difference."),
            (boxes(quantity), "\(quantity.name) of each cell: every value, with median and quartiles."),
            (orders(quantity), "\(quantity.name) in the order of measuring: a slope is drift."),
        ].compactMap(\.self)
        var plots: [Plot] = []
        for (script, caption) in scripts {
            plots.append(Plot(svg: try await draw(script, in: folder), caption: caption))
        }
        return plots
    }

    private func draw(_ script: String, in folder: HostPath) async throws -> String {
        let file = folder.appending(".plot")
        try HostFiles.write(Array(script.utf8), to: file)
        defer { try? HostFiles.removeTree(file) }
        let outcome = try await Tool.check("gnuplot", [file.string])
        // Only the picture: what stands before it belongs to a file of its own.
        let text = outcome.text
        guard let start = text.firstRange(of: "<svg")?.lowerBound else {
            throw BackendError(
                .internal, "compare", "gnuplot drew nothing: \(outcome.errors.suffix(300))", blame: .host)
        }
        return String(text[start...])
    }

    private func head(rows: Int) -> String {
        "set terminal svg size 720,\(120 + 36 * max(rows, 3)) dynamic font 'sans-serif,12'; set grid; unset key; "
    }

    private func ratios(_ quantity: Summary.QuantitySummary) -> String {
        let rows = quantity.pairs.enumerated().map { place, pair in
            "\(pair.ratio) \(place) \(pair.low) \(pair.high)"
        }
        let tics = quantity.pairs.enumerated().map { "\(Self.quoted("\($1.second) / \($1.first)")) \($0)" }
        return head(rows: rows.count)
            + "set ytics (\(tics.joined(separator: ", "))); set yrange [\(rows.count).0-0.5:-0.5]; set xlabel 'ratio'; "
            + "set arrow from 1,graph 0 to 1,graph 1 nohead lw 2 dt 2; set offsets graph 0.05, graph 0.05, 0, 0; "
            + Self.plot(rows, "using 1:2:3:4 with xerrorbars pt 7 ps 1 lw 2")
    }

    private func boxes(_ quantity: Summary.QuantitySummary) -> String {
        let names = quantity.cells.map(\.cell)
        let rows = values(quantity).map { sample, value in
            "\(value) \(names.firstIndex(of: sample.cell) ?? 0)"
        }
        let marks = quantity.cells.enumerated().map { place, cell in
            "set arrow from \(cell.lowerQuartile),\(place) to \(cell.upperQuartile),\(place) nohead lw 8 lc rgb '#8844aa66'; "
                + "set arrow from \(cell.median),\(place).0-0.3 to \(cell.median),\(place).0+0.3 nohead lw 3 lc rgb '#aa0000'; "
        }
        let tics = names.enumerated().map { "\(Self.quoted($1)) \($0)" }
        return head(rows: names.count) + marks.joined()
            + "set ytics (\(tics.joined(separator: ", "))); set yrange [\(names.count).0-0.5:-0.5]; "
            + "set xlabel \(Self.quoted(label(quantity))); set offsets graph 0.05, graph 0.05, 0, 0; "
            + Self.plot(rows, "using 1:2 with points pt 6 ps 0.8 lc rgb '#0055aa'")
    }

    private func orders(_ quantity: Summary.QuantitySummary) -> String {
        let sorted = values(quantity).sorted { ($0.0.block, $0.0.place) < ($1.0.block, $1.0.place) }
        let names = quantity.cells.map(\.cell)
        let rows = sorted.enumerated().map { place, found in
            "\(place) \(found.1) \((names.firstIndex(of: found.0.cell) ?? 0) + 1)"
        }
        return head(rows: 6)
            + "set xlabel 'order of measuring'; set ylabel \(Self.quoted(label(quantity))); "
            + "set offsets 0.5, 0.5, graph 0.05, graph 0.05; "
            + Self.plot(rows, "using 1:2:3 with points pt 7 ps 0.8 lc variable")
    }

    private func values(_ quantity: Summary.QuantitySummary) -> [(Sample, Double)] {
        samples.compactMap { sample in
            sample.values[quantity.name].map { (sample, $0.unit == "bytes" ? $0.value / 1_048_576 : $0.value) }
        }
    }

    private func label(_ quantity: Summary.QuantitySummary) -> String {
        quantity.unit.isEmpty ? quantity.name : "\(quantity.name) (\(quantity.unit))"
    }

    private static func plot(_ rows: [String], _ how: String) -> String {
        "\n$data << EOD\n\(rows.joined(separator: "\n"))\nEOD\nplot $data \(how)\n"
    }

    /// A text in single quotes, in which gnuplot knows no escapes but that of the quote; its markup is not wanted.
    private static func quoted(_ text: String) -> String {
        let plain = text.map { "'\"\\{}^_@&~%$`".contains($0) || $0.isNewline ? "-" : String($0) }.joined()
        return "'\(plain)'"
    }
}
