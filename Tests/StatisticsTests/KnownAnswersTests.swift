import Statistics
import Testing

/// Against SciPy 1.17 and published examples.
@Suite struct KnownAnswersTests {
    @Test func `Wilcoxon's p is that of Hollander and Wolfe's depression data`() {
        let before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
        let after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
        #expect(SignedRank(zip(before, after).map { $0 - $1 }).p == 0.0390625)
    }

    @Test func `Wilcoxon's p counts ties and passes over zeros`() {
        #expect(SignedRank([1, 1, -1, 2, 2, 3, 0, -2, 4]).p == 0.1640625)
        #expect(SignedRank([1, 2, -3, 4, 5, 6, -7, 8, 9, 10]).p == 0.083984375)
        #expect(SignedRank([0, 0]).p == 1)
    }

    @Test func `Wilcoxon's p of many differences is the normal one, with its correction`() {
        let differences = (1...61).map { Double($0) * ($0 % 3 == 0 ? -1 : 1) }
        #expect(abs(SignedRank(differences).p - 0.023661941657942203) < 1e-12)
    }

    @Test func `the effect goes from -1 to 1`() {
        #expect(SignedRank([1, 2, 3]).effect == 1)
        #expect(SignedRank([-1, -2, -3]).effect == -1)
        #expect(SignedRank([1, -1]).effect == 0)
    }

    @Test func `the smooth median is Harrell and Davis's`() {
        let values = [3, 1, 4, 1.5, 9, 2.6, 5.35].sorted()
        #expect(abs(SmoothMedian(size: 7).of(sorted: values) - 3.26718101) < 1e-7)
        let squares = (1...20).map { Double($0 * $0) }
        #expect(abs(SmoothMedian(size: 20).of(sorted: squares) - 114.87878788) < 1e-7)
    }

    @Test func `the drift test is Mann and Kendall's, ties counted`() {
        let drift = DriftTest([1, 1, 2, 2, 3, 2, 4, 4, 5, 3])
        #expect(abs(drift.p - 0.005818620754684281) < 1e-12)
        #expect(abs(drift.tau - 0.6888888888888889) < 1e-12)
        #expect(DriftTest([1, 2, 3]).p == 1)
        #expect(DriftTest([2, 2, 2, 2, 2]).p == 1)
    }

    @Test func `Holm's correction keeps the order and never falls`() {
        let adjusted = Holm.adjusted([0.01, 0.04, 0.03, 0.005])
        for (found, known) in zip(adjusted, [0.03, 0.06, 0.06, 0.02]) { #expect(abs(found - known) < 1e-12) }
        #expect(Holm.adjusted([0.6, 0.9]) == [1, 1])
        #expect(Holm.adjusted([]).isEmpty)
    }

    @Test func `quantiles are interpolated, a median of nothing is no number`() {
        #expect(Order.median([4, 1, 3, 2]) == 2.5)
        #expect(Order.quantile([1, 2, 3, 4, 5], 0.25) == 2)
        #expect(Order.median([]).isNaN)
        #expect(Order.ranks([10, 20, 10, 30]) == [1.5, 3, 1.5, 4])
    }

    @Test func `a far value is listed`() {
        #expect(Order.outliers([1, 1.01, 0.99, 1.02, 3, 0.98]) == [4])
        #expect(Order.outliers([1, 1, 1, 1, 1, 3]).isEmpty)
        #expect(Order.outliers([1, 100]).isEmpty)
    }
}

@Suite struct PairedRatioTests {
    @Test func `what is the same factor in every block is that factor, with no width`() {
        var generator = SeededGenerator(seed: 1)
        let found = PairedRatio([1, 2, 3, 4, 5], [1.5, 3, 4.5, 6, 7.5], using: &generator)
        #expect(abs(found.ratio - 1.5) < 1e-12 && abs(found.low - 1.5) < 1e-12 && abs(found.high - 1.5) < 1e-12)
    }

    @Test func `a machine that becomes slower does not widen the interval`() {
        let drift = (0..<20).map { 1 + Double($0) / 4 }
        let noise = (0..<20).map { 1 + Double($0 % 5) / 100 }
        var generator = SeededGenerator(seed: 1)
        let found = PairedRatio(drift, zip(drift, noise).map { $0 * $1 * 1.1 }, using: &generator)
        #expect(found.low > 1.1 && found.high < 1.16 && found.test.p < 0.001)
    }

    @Test func `the same seed gives the same interval, another one another`() {
        let first = (0..<15).map { 1 + Double($0 * 7 % 15) / 100 }
        let second = (0..<15).map { 1 + Double($0 * 11 % 15) / 90 }
        func found(_ seed: UInt64) -> PairedRatio {
            var generator = SeededGenerator(seed: seed)
            return PairedRatio(first, second, using: &generator)
        }
        #expect(found(7) == found(7))
        #expect(found(7).low != found(8).low)
    }

    @Test func `the symmetric width does not know which of two is the larger`() {
        let (first, second) = ([1.0, 1.1, 0.9, 1.05, 1.2], [1.3, 1.1, 1.0, 1.2, 1.1])
        var (one, two) = (SeededGenerator(seed: 3), SeededGenerator(seed: 3))
        let width = PairedRatio.symmetricHalfWidth(first, second, using: &one)
        #expect(width == PairedRatio.symmetricHalfWidth(second, first, using: &two))
    }

    @Test func `the rule asks for the blocks that the width needs, and ends when it is narrow`() {
        let first = (0..<20).map { 1 + Double($0 % 4) / 50 }
        let second = (0..<20).map { 1 + Double(($0 + 2) % 4) / 50 }
        var generator = SeededGenerator(seed: 1)
        #expect(StoppingRule(target: 0.5).nextLook(first, second, using: &generator) == nil)
        let look = StoppingRule(target: 0.005).nextLook(first, second, using: &generator)
        #expect((look ?? 0) > 24)
    }
}

@Suite struct SeededGeneratorTests {
    @Test func `a seed gives the same numbers on every machine`() {
        var generator = SeededGenerator(seed: 42)
        let first = (0..<3).map { _ in generator.next() }
        var again = SeededGenerator(seed: 42)
        #expect(first == (0..<3).map { _ in again.next() })
        var other = SeededGenerator(seed: 42, stream: 1)
        #expect(first[0] != other.next())
    }

    @Test func `every order is as likely`() {
        var generator = SeededGenerator(seed: 5)
        var counts: [[Int]: Int] = [:]
        for _ in 0..<6_000 { counts[generator.shuffled([1, 2, 3]), default: 0] += 1 }
        #expect(counts.count == 6 && counts.values.allSatisfy { (850...1150).contains($0) })
    }

    @Test func `normal numbers have mean 0 and deviation 1`() {
        var generator = SeededGenerator(seed: 9)
        let numbers = (0..<20_000).map { _ in generator.normal() }
        let mean = numbers.reduce(0, +) / 20_000
        let variance = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 20_000
        #expect(abs(mean) < 0.03 && abs(variance - 1) < 0.04)
    }
}
