#if canImport(Glibc)
    import Glibc
#endif

/// What the order of a sample's values says.
public enum Order {
    /// The middle value, or the mean of the two in the middle; NaN of nothing.
    public static func median(_ values: [Double]) -> Double { quantile(values, 0.5) }

    /// The value below which this part of the sample lies, from 0 to 1, interpolated (type 7 of Hyndman and Fan, 1996).
    public static func quantile(_ values: [Double], _ part: Double) -> Double { sortedQuantile(values.sorted(), part) }

    static func sortedQuantile(_ values: [Double], _ part: Double) -> Double {
        guard let last = values.last else { return .nan }
        let place = part * Double(values.count - 1)
        let index = Int(place)
        guard index + 1 < values.count else { return last }
        return values[index] + (place - Double(index)) * (values[index + 1] - values[index])
    }

    /// The places of values that are far from the rest: on the logarithm's scale, more than 3.5 robust standard deviations (1.4826
    /// times the median of the distances) from the median. Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993.
    ///
    /// - Parameter values: greater than 0; fewer than five have none.
    public static func outliers(_ values: [Double]) -> [Int] {
        guard values.count >= 5 else { return [] }
        let logs = values.map { log($0) }
        let middle = median(logs)
        let spread = 1.4826 * median(logs.map { abs($0 - middle) })
        guard spread > 0 else { return [] }
        return logs.indices.filter { abs(logs[$0] - middle) > 3.5 * spread }
    }

    /// Ranks from 1; equal values share the mean of theirs.
    public static func ranks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start
            while end + 1 < order.count, values[order[end + 1]] == values[order[start]] { end += 1 }
            for place in start...end { ranks[order[place]] = Double(start + end) / 2 + 1 }
            start = end + 1
        }
        return ranks
    }
}

/// An estimate of the median from all values of the sample, each weighted by how likely it is the median of another sample.
///
/// Unlike the middle value it takes no steps, so an interval from resamples covers what it says at odd and even sizes. Source:
/// Harrell and Davis, "A new distribution-free quantile estimator", Biometrika 69 (1982).
public struct SmoothMedian: Sendable {
    /// The sum of the weights of the first k values in order, for k from 0 to the size.
    private let weight: [Double]

    /// For samples of this size, at least 1.
    public init(size: Int) {
        let shape = Double(size + 1) / 2
        weight = (0...size).map { Distributions.beta(Double($0) / Double(size), shape, shape) }
    }

    /// The estimate for values in rising order, as many as the size.
    public func of(sorted values: [Double]) -> Double {
        values.indices.reduce(0) { $0 + (weight[$1 + 1] - weight[$1]) * values[$1] }
    }

    /// The estimate for a resample: how often each of the values in rising order was drawn, as many in all as the size.
    func of(sorted values: [Double], drawn counts: [Int]) -> Double {
        var (sum, seen) = (0.0, 0)
        for (value, count) in zip(values, counts) where count > 0 {
            sum += (weight[seen + count] - weight[seen]) * value
            seen += count
        }
        return sum
    }
}
