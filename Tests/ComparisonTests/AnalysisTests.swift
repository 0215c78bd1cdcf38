import Abstractions
import Host
import Testing

@testable import Comparison

/// Samples of made-up cells.
enum Made {
    static func design(blocks: Int = 12, cells: [String] = ["a", "b"], halfWidth: Double? = nil) -> Design {
        var design = Design(
            name: "made", factors: [Design.Factor("disk", cells)], blocks: blocks, warmUpBlocks: 1, seed: 3,
            quantity: "total")
        design.halfWidth = halfWidth
        return design
    }

    /// One value a cell in each block from 1 on, as the function of the block says; nil fails.
    static func samples(
        _ blocks: Range<Int> = 1..<13, cells: [String] = ["a", "b"], _ total: (Int, String) -> Double?
    )
        -> [Sample]
    {
        blocks.flatMap { block in
            cells.enumerated().map { place, cell in
                let value = total(block, cell)
                return sample(block, place, cell, value, why: value == nil ? "not installed" : nil)
            }
        }
    }

    static func sample(_ block: Int, _ place: Int, _ cell: String, _ total: Double?, why: String? = nil) -> Sample {
        Sample(
            block: block, place: place, cell: cell, isWarmUp: block == 0, isGood: total != nil, why: why,
            startedMs: 0, ms: 10, load: 0, steal: 0, values: total.map { ["total": Quantity($0, "s")] } ?? [:])
    }
}

@Suite struct DesignTests {
    @Test func `each block has every cell once, in an order that the seed gives again`() {
        let design = Made.design(cells: ["a", "b", "c"])
        let orders = (0..<50).map { design.order(ofBlock: $0).map(\.name) }
        #expect(orders.allSatisfy { $0.sorted() == ["a", "b", "c"] })
        #expect(Set(orders).count == 6)
        #expect(orders == (0..<50).map { design.order(ofBlock: $0).map(\.name) })
    }

    @Test func `cells are all combinations but those that are left out`() {
        var design = Made.design()
        design.factors = [
            Design.Factor("hypervisor", ["q", "k"]), Design.Factor("disk", ["d", "v"]), Design.Factor("boot", ["cold"]),
        ]
        design.excluded = [["hypervisor": "k", "disk": "v"]]
        #expect(design.cells.map(\.name) == ["q/d", "q/v", "k/d"])
        #expect(design.cells.allSatisfy { $0.levels["boot"] == "cold" })
    }

    @Test(arguments: [[Design.Factor("disk", ["a"])], [Design.Factor("disk", ["a", "a"])], []])
    func `what cannot be compared is refused`(factors: [Design.Factor]) {
        var design = Made.design()
        design.factors = factors
        #expect(throws: BackendError.self) { try design.check() }
    }
}

@Suite struct AnalysisTests {
    @Test func `a clear difference is found, and the better cell stands first`() {
        let samples = Made.samples { block, cell in
            cell == "a" ? 2 + Double(block % 3) / 100 : 1 + Double(block % 4) / 100
        }
        let summary = Analysis(Made.design(), samples).summary()
        #expect(summary.quantities[0].cells.map(\.cell) == ["b", "a"])
        let pair = summary.quantities[0].pairs[0]
        #expect(pair.first == "b" && pair.second == "a" && pair.isDifferent && pair.blocks == 12)
        #expect((1.9...2.0).contains(pair.ratio) && pair.low <= pair.ratio && pair.high >= pair.ratio)
        #expect(summary.verdict.hasPrefix("a needs 1.9"))
    }

    @Test func `what is the same is not called different`() {
        let samples = Made.samples { block, cell in 1 + Double((cell == "a" ? block : block + 1) % 3) / 100 }
        let summary = Analysis(Made.design(), samples).summary()
        #expect(!summary.quantities[0].pairs[0].isDifferent)
        #expect(summary.verdict.hasPrefix("No difference in total is found between"))
    }

    @Test func `a cell that fails is told with its reason, and the rest still counts`() {
        let cells = ["a", "b", "c"]
        let samples = Made.samples(cells: cells) { _, cell in cell == "a" ? 2 : cell == "b" ? 1 : nil }
        let summary = Analysis(Made.design(cells: cells), samples).summary()
        #expect(summary.cells[2].failed == 12 && summary.cells[2].reasons == ["not installed": 12])
        #expect(summary.verdict.hasSuffix("Without a measurement: c."))
        #expect(summary.warnings.contains("measurements failed: c 12"))
        #expect(summary.quantities[0].pairs.count == 1)
    }

    @Test func `a sample that is missing costs its block in its pairs alone`() {
        var samples = Made.samples { _, cell in cell == "a" ? 2 : 1 }
        samples[0] = Made.sample(1, 0, "a", nil, why: "once")
        let summary = Analysis(Made.design(), samples).summary()
        #expect(summary.quantities[0].pairs[0].blocks == 11)
        #expect(summary.quantities[0].cells.map(\.count) == [12, 11])
    }

    @Test func `the warm-up does not count`() {
        let samples = Made.samples(0..<13) { block, cell in cell == "b" ? 1 : block == 0 ? 100 : 2 }
        #expect(Analysis(Made.design(), samples).summary().quantities[0].cells[1].most == 2)
    }

    @Test func `drift is told`() {
        let samples = Made.samples { block, cell in (cell == "a" ? 1 : 1.01) + Double(block) / 10 }
        let warnings = Analysis(Made.design(), samples).summary().warnings
        #expect(warnings.contains { $0.hasPrefix("total rose while it was measured") })
    }

    @Test func `too few blocks are told`() {
        let samples = Made.samples(1..<4) { _, cell in cell == "a" ? 2 : 1 }
        let warnings = Analysis(Made.design(), samples).summary().warnings
        #expect(warnings.first?.hasPrefix("too few blocks (3): with fewer than 6") == true)
    }
}

@Suite struct RoundedTests {
    @Test(arguments: [
        (1.0312345, "1.031"), (0.00041234567, "0.0004123"), (123456.0, "123500"), (0, "0"), (12, "12"),
        (-3.14159, "-3.142"),
    ])
    func `numbers have the digits they are worth`(value: Double, text: String) {
        #expect(Rounded.text(Rounded.number(value)) == text)
    }
}

@Suite struct MetricTests {
    @Test func `a task's own numbers are read, and nothing else`() {
        let text = """
            metric speed 12.5 MB/s
            metric bad twelve s
            metric endless inf s
            metric too many words here
            other speed 1 s
            metric count 3 files
            """
        let found = RunMeasurement.metrics(in: text)
        #expect(found.map(\.0) == ["speed", "count"])
        #expect(found.map(\.1) == [Quantity(12.5, "MB/s"), Quantity(3, "files")])
    }
}
