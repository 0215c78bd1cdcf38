#if canImport(Glibc)
    import Glibc
#endif

/// Whether values rise or fall with the order in which they were measured: the test of Mann and Kendall.
///
/// Source: Mann, "Nonparametric tests against trend", Econometrica 13 (1945); Kendall, "Rank Correlation Methods", 1975, with ties.
public struct DriftTest: Sendable, Hashable {
    /// How likely an order as regular as this is when there is no drift; 1 for fewer than four values.
    public let p: Double
    /// From -1, always falling, to 1, always rising.
    public let tau: Double

    /// - Parameter values: in the order in which they were measured, of at most 5,000 measurements the last.
    public init(_ values: [Double]) {
        let values = Array(values.suffix(5_000))
        let count = Double(values.count)
        guard values.count >= 4 else {
            (p, tau) = (1, 0)
            return
        }
        var score = 0
        for (place, value) in values.enumerated() {
            for later in values[(place + 1)...] { score += later > value ? 1 : later < value ? -1 : 0 }
        }
        let ties = Dictionary(values.map { ($0, 1.0) }, uniquingKeysWith: +).values
        let variance =
            (count * (count - 1) * (2 * count + 5) - ties.reduce(0) { $0 + $1 * ($1 - 1) * (2 * $1 + 5) }) / 18
        tau = Double(score) / (count * (count - 1) / 2)
        guard variance > 0, score != 0 else {
            p = 1
            return
        }
        let z = (Double(abs(score)) - 1) / variance.squareRoot()
        p = min(1, 2 * Distributions.normal(-z))
    }
}
