/// One measurement of one cell: a line of `raw.jsonl`.
public struct Sample: Sendable, Hashable, Codable {
    /// Its block, from 0; the warm-up's blocks are the first.
    public var block: Int
    /// Its place within the block, from 0.
    public var place: Int
    /// The cell's name.
    public var cell: String
    /// Whether it does not count.
    public var isWarmUp: Bool
    /// Whether it is a measurement; when not, `why` says what went wrong.
    public var isGood: Bool
    /// Why there is no measurement, in a line.
    public var why: String?
    /// When it began, in milliseconds since 1970.
    public var startedMs: Int64
    /// How long it took, what is around the measurement included.
    public var ms: Int64
    /// The host's load of the last minute, when it began.
    public var load: Double
    /// Seconds of processor time that this host, itself a virtual machine, had to wait for meanwhile.
    public var steal: Double
    /// Everything measured, by its name.
    public var values: [String: Quantity]
    /// The result folder below the comparison's, nil when there is none.
    public var folder: String?
}

/// A number with its unit.
public struct Quantity: Sendable, Hashable, Codable {
    /// The number.
    public var value: Double
    /// `s`, `bytes`, or what a task wrote.
    public var unit: String

    /// A number with its unit.
    public init(_ value: Double, _ unit: String) {
        self.value = value
        self.unit = unit
    }

    /// Milliseconds as seconds.
    init(ms: Int64) { self.init(Double(ms) / 1000, "s") }
}

/// A line of `raw.jsonl`; one of its parts is there.
public struct RawLine: Sendable, Hashable, Codable {
    /// The first line.
    public var design: Design?
    /// The host: before the first sample, before each going-on, and after the last sample.
    public var environment: HostFacts?
    /// A measurement.
    public var sample: Sample?
    /// In what the raw data of cells differs, written after the last sample.
    public var findings: [Finding]?
}

/// Something in which the raw data of one cell is not that of the others.
public struct Finding: Sendable, Hashable, Codable {
    /// The cell that differs.
    public var cell: String
    /// The cell that it was compared with.
    public var reference: String
    /// The block in which it was seen first.
    public var block: Int
    /// In how many blocks it was seen.
    public var blocks: Int
    /// What differs: the task, what of it, and both sides.
    public var what: String
}
