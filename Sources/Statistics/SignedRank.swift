#if canImport(Glibc)
    import Glibc
#endif

/// Wilcoxon's test of whether differences are as often, and as far, above zero as below.
///
/// When the order within each block is random, swapping the two names in a block changes nothing if there is no difference: the test
/// is exact whatever the machine does from block to block. Source: Wilcoxon, "Individual comparisons by ranking methods", 1945.
public struct SignedRank: Sendable, Hashable {
    /// How likely differences as lopsided as these are when there is none, both directions counted; 1 of nothing.
    public let p: Double
    /// From -1, all below zero, to 1, all above: the difference of the rank sums as a part of their sum (Kerby, 2014).
    public let effect: Double

    /// Up to so many differences the distribution is counted out, with ties; above, it is taken as normal.
    private static let exactLimit = 60

    /// Zeros say nothing and do not count.
    public init(_ differences: [Double]) {
        let kept = differences.filter { $0 != 0 }
        guard !kept.isEmpty else {
            (p, effect) = (1, 0)
            return
        }
        let ranks = Order.ranks(kept.map { abs($0) })
        let above = zip(kept, ranks).reduce(0) { $0 + ($1.0 > 0 ? $1.1 : 0) }
        let total = ranks.reduce(0, +)
        effect = (2 * above - total) / total
        let smaller = min(above, total - above)
        p = kept.count <= Self.exactLimit ? Self.exact(ranks, smaller) : Self.approximate(ranks, smaller, total)
    }

    /// Of all ways to give the ranks signs, twice the part with a sum of at most this.
    private static func exact(_ ranks: [Double], _ sum: Double) -> Double {
        // Mean ranks are halves.
        let doubled = ranks.map { Int(2 * $0) }
        var ways = [Double](repeating: 0, count: doubled.reduce(0, +) + 1)
        ways[0] = 1
        var reach = 0
        for rank in doubled {
            reach += rank
            for place in stride(from: reach, through: rank, by: -1) { ways[place] += ways[place - rank] }
        }
        let few = ways[0...Int(2 * sum)].reduce(0, +)
        return min(1, 2 * few / exp2(Double(ranks.count)))
    }

    private static func approximate(_ ranks: [Double], _ sum: Double, _ total: Double) -> Double {
        let deviation = ranks.reduce(0) { $0 + $1 * $1 / 4 }.squareRoot()
        return min(1, 2 * Distributions.normal((sum - total / 2 + 0.5) / deviation))
    }
}

/// Holm's correction of the p of several comparisons: the chance that any of them is called a difference wrongly stays what it is for
/// one. Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
public enum Holm {
    /// The corrected p, in the order given.
    public static func adjusted(_ values: [Double]) -> [Double] {
        var adjusted = values
        var most = 0.0
        for (place, index) in values.indices.sorted(by: { values[$0] < values[$1] }).enumerated() {
            most = max(most, min(1, values[index] * Double(values.count - place)))
            adjusted[index] = most
        }
        return adjusted
    }

    /// How many differences the signed-rank test needs at least so that one of so many comparisons can be below 0.05.
    public static func leastDifferences(comparisons: Int) -> Int {
        // All on one side: 2 of 2^n ways.
        Int(log2(2 * Double(max(1, comparisons)) / 0.05).rounded(.up))
    }
}
