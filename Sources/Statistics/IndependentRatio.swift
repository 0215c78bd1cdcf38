#if canImport(Glibc)
    import Glibc
#endif

/// How many times one thing takes what another took when they were not measured in the same blocks: what the machine did meanwhile is
/// in it.
public struct IndependentRatio: Sendable, Hashable {
    /// The ratio of the medians, second / first.
    public let ratio: Double
    /// The 95 % interval's lower end.
    public let low: Double
    /// Its upper end.
    public let high: Double

    /// - Parameters:
    ///   - first: at least two values greater than 0.
    ///   - second: at least two values greater than 0.
    ///   - generator: gives the resamples.
    public init(_ first: [Double], _ second: [Double], using generator: inout SeededGenerator) {
        precondition(first.count >= 2 && second.count >= 2)
        let (one, two) = (first.map { log($0) }.sorted(), second.map { log($0) }.sorted())
        let (before, after) = (SmoothMedian(size: one.count), SmoothMedian(size: two.count))
        let found = (0..<PairedRatio.resamples).map { _ in
            Self.drawn(two, after, &generator) - Self.drawn(one, before, &generator)
        }.sorted()
        ratio = exp(after.of(sorted: two) - before.of(sorted: one))
        let tail = PairedRatio.tail(size: min(one.count, two.count))
        low = exp(Order.sortedQuantile(found, tail))
        high = exp(Order.sortedQuantile(found, 1 - tail))
    }

    private static func drawn(
        _ sorted: [Double], _ median: SmoothMedian, _ generator: inout SeededGenerator
    ) -> Double {
        var counts = [Int](repeating: 0, count: sorted.count)
        for _ in sorted { counts[generator.index(below: sorted.count)] += 1 }
        return median.of(sorted: sorted, drawn: counts)
    }
}
