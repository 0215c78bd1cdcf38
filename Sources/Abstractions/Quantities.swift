/// A number of bytes, never negative. On the wire a bare number.
public struct ByteCount: Sendable, Hashable, Comparable, Codable, CustomStringConvertible {
    /// The number of bytes.
    public var bytes: Int64
    /// Wraps a number of bytes.
    public init(_ bytes: Int64) { self.bytes = bytes }
    /// That many KiB.
    public static func kib(_ count: Int64) -> ByteCount { ByteCount(count << 10) }
    /// That many MiB.
    public static func mib(_ count: Int64) -> ByteCount { ByteCount(count << 20) }
    /// That many GiB.
    public static func gib(_ count: Int64) -> ByteCount { ByteCount(count << 30) }
    /// Reads a bare number.
    public init(from decoder: any Decoder) throws { bytes = try decoder.singleValueContainer().decode(Int64.self) }
    /// Writes a bare number.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }
    /// Fewer bytes first.
    public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }

    /// Reads `512`, `512B`, `64KiB`, `1.5GiB`, and the short forms `64K`, `512M`, `1G`, all in powers of 1024; nil for anything else.
    public init?(parsing text: String) {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text.dropFirst(digits.count).drop { $0 == " " }
        let shifts: [String: Int] = [
            "": 0, "B": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30, "T": 40, "TiB": 40,
        ]
        guard let shift = shifts[String(unit)], let number = Double(digits), number >= 0 else { return nil }
        let bytes = number * Double(Int64(1) << Int64(shift))
        guard bytes < 9.0e18 else { return nil }
        self.bytes = Int64(bytes)
    }

    /// The count in the largest unit that leaves a number of at least 1, for example `1.5 GiB`.
    public var description: String {
        var value = Double(bytes)
        var unit = "B"
        for next in ["KiB", "MiB", "GiB", "TiB"] where value >= 1024 {
            value /= 1024
            unit = next
        }
        let tenths = Int64((value * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
    }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    public var milliseconds: Int64 {
        components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
    }
    /// Seconds with their fraction.
    public var inSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) / 1e18
    }
}

/// The moment by which the call under way must be over, carried by the task.
public enum CallDeadline {
    /// The deadline of the current call; nil leaves it to the callee's default.
    @TaskLocal public static var current: ContinuousClock.Instant?

    /// Time left until the deadline, at least zero; nil without a deadline.
    public static var remaining: Duration? {
        current.map { max(.zero, ContinuousClock.now.duration(to: $0)) }
    }
}
