#if canImport(Glibc)
    import Glibc
#endif

/// How many times the second of two things takes what the first takes, from one value of each in every block.
public struct PairedRatio: Sendable, Hashable {
    /// The median over the blocks of second / first.
    public let ratio: Double
    /// The interval that holds the true ratio in 95 of 100 comparisons.
    public let low: Double
    /// Its upper end.
    public let high: Double
    /// Wilcoxon's test of whether there is a difference at all.
    public let test: SignedRank

    /// How many resamples the interval is made of.
    public static let resamples = 10_000

    /// Half of the interval's width as a part of the ratio.
    public var halfWidth: Double { (high - low) / 2 / ratio }

    /// - Parameters:
    ///   - first: one value a block, greater than 0.
    ///   - second: one value a block, in the same order, greater than 0; at least two blocks.
    ///   - generator: gives the resamples.
    public init(_ first: [Double], _ second: [Double], using generator: inout SeededGenerator) {
        let differences = Self.differences(first, second)
        test = SignedRank(differences)
        let sorted = differences.sorted()
        ratio = exp(SmoothMedian(size: sorted.count).of(sorted: sorted))
        let interval = Self.interval(sorted, size: sorted.count, using: &generator)
        (low, high) = (exp(interval.lowerBound), exp(interval.upperBound))
    }

    /// What the half of the width would be if each block's two values might as well have been the other's: a number that follows
    /// from how far apart they are in each block, never from which is the larger.
    public static func symmetricHalfWidth(
        _ first: [Double], _ second: [Double], using generator: inout SeededGenerator
    ) -> Double {
        let sizes = differences(first, second).map { abs($0) }
        let interval = interval((sizes + sizes.map(-)).sorted(), size: sizes.count, using: &generator)
        return (exp(interval.upperBound) - exp(interval.lowerBound)) / 2
    }

    /// The logarithm of the ratio in each block.
    static func differences(_ first: [Double], _ second: [Double]) -> [Double] {
        precondition(first.count == second.count && first.count >= 2)
        return zip(first, second).map { log($1 / $0) }
    }

    /// The interval of the median of samples of this size from a population that looks like these values.
    private static func interval(
        _ sorted: [Double], size: Int, using generator: inout SeededGenerator
    ) -> ClosedRange<Double> {
        let median = SmoothMedian(size: size)
        var counts = [Int](repeating: 0, count: sorted.count)
        let found = (0..<resamples).map { _ in
            for place in sorted.indices { counts[place] = 0 }
            for _ in 0..<size { counts[generator.index(below: sorted.count)] += 1 }
            return median.of(sorted: sorted, drawn: counts)
        }.sorted()
        let tail = tail(size: size)
        return Order.sortedQuantile(found, tail)...Order.sortedQuantile(found, 1 - tail)
    }

    /// The part of the resamples that lies beyond each end of the interval.
    ///
    /// Resamples vary less than samples do, by the root of (n - 1) / n: the interval reaches as much further out. Source: Hesterberg,
    /// "What Teachers Should Know About the Bootstrap", 2015, section 3.3.
    static func tail(size: Int) -> Double {
        Distributions.normal(-1.959964 * (Double(size) / Double(size - 1)).squareRoot())
    }
}
