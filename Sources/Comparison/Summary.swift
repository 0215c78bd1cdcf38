/// What a comparison says: `summary.json`. Numbers are rounded to what they are worth, so that a report shows these very digits.
public struct Summary: Sendable, Hashable, Codable {
    /// Version of this layout.
    public var schema = 1
    /// In how many of 100 comparisons an interval holds the true ratio.
    public var confidence = 95
    /// The answer in a sentence.
    public var verdict: String
    /// What a reader has to know before he believes the numbers.
    public var warnings: [String]
    /// What was compared, and how.
    public var design: Design
    /// Blocks that count.
    public var blocks: Int
    /// The host: before, at each going-on, and after.
    public var environments: [HostFacts]
    /// Each thing that was compared, in the order of the design.
    public var cells: [CellCount]
    /// Each quantity, the chosen one first.
    public var quantities: [QuantitySummary]
    /// In what the raw data of cells differs.
    public var findings: [Finding]

    /// How many measurements a cell has.
    public struct CellCount: Sendable, Hashable, Codable {
        /// The cell.
        public var cell: Cell
        /// Those that count and are good.
        public var good: Int
        /// Those that count and failed.
        public var failed: Int
        /// Why, each reason once with its number.
        public var reasons: [String: Int]
    }

    /// One quantity over all cells.
    public struct QuantitySummary: Sendable, Hashable, Codable {
        /// Its name.
        public var name: String
        /// Its unit; bytes are shown as MiB.
        public var unit: String
        /// Whether less is better.
        public var isLessBetter: Bool
        /// Each cell that has it, the best first.
        public var cells: [CellValues]
        /// Each two cells.
        public var pairs: [Pair]
        /// From -1, always falling, to 1, always rising with the order of measuring.
        public var driftTau: Double
        /// How likely such an order is without drift.
        public var driftP: Double
    }

    /// The values of one cell.
    public struct CellValues: Sendable, Hashable, Codable {
        /// The cell's name.
        public var cell: String
        /// How many values.
        public var count: Int
        /// The middle one.
        public var median: Double
        /// A quarter of the values are below it.
        public var lowerQuartile: Double
        /// A quarter of the values are above it.
        public var upperQuartile: Double
        /// The least.
        public var least: Double
        /// The most.
        public var most: Double
        /// Blocks whose value is far from the rest; none is left out for that.
        public var outlierBlocks: [Int]
    }

    /// Two cells.
    public struct Pair: Sendable, Hashable, Codable {
        /// The name of the cell with the better median.
        public var first: String
        /// The name of the other cell.
        public var second: String
        /// Blocks in which both have a value.
        public var blocks: Int
        /// How many times the first has it the second has it; the first is the one with the better median.
        public var ratio: Double
        /// The 95 % interval's lower end.
        public var low: Double
        /// Its upper end.
        public var high: Double
        /// Wilcoxon's p.
        public var p: Double
        /// Holm's p over all pairs of the quantity.
        public var adjustedP: Double
        /// From -1 to 1: how much more often, and further, the second is above the first than below.
        public var effect: Double
        /// Whether there is a difference: the corrected p is below 0.05.
        public var isDifferent: Bool
    }
}
