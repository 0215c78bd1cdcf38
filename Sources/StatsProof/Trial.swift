import Statistics

/// One simulated comparison of two things, as `anyvisor compare` does it.
struct Trial {
    var model: NoiseModel
    /// How many times the second thing takes what the first takes.
    var factor = 1.0
    /// Blocks, or the most with a stopping rule.
    var blocks: Int
    var rule: StoppingRule?

    /// What the comparison says.
    struct Verdict {
        var blocks: Int
        var comparison: PairedRatio
        var finds: Bool { comparison.test.p < 0.05 }
        /// Whether the interval does not hold the true ratio.
        var misses: Bool
    }

    func run(seed: UInt64, number: Int) -> Verdict {
        var generator = SeededGenerator(seed: seed, stream: UInt64(number))
        // The order of each block is as random as in `Design`.
        let orders = (0..<blocks).map { _ in generator.shuffled([false, true]) }
        let times = model.times(orders.flatMap(\.self), factor: factor, using: &generator)
        var (first, second): ([Double], [Double]) = ([], [])
        var look: Int? = StoppingRule.least
        for (block, order) in orders.enumerated() {
            for (place, isSecond) in order.enumerated() {
                if isSecond { second.append(times[2 * block + place]) } else { first.append(times[2 * block + place]) }
            }
            guard let rule, look == block + 1 else { continue }
            look = rule.nextLook(first, second, using: &generator)
            if look == nil { break }
        }
        return verdict(PairedRatio(first, second, using: &generator), first.count)
    }

    private func verdict(_ found: PairedRatio, _ blocks: Int) -> Verdict {
        Verdict(blocks: blocks, comparison: found, misses: found.low > factor || found.high < factor)
    }
}
