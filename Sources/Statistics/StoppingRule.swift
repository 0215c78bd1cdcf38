/// When a comparison with `--until-ci` has enough blocks.
///
/// Who ends as soon as an interval looks narrow ends when the spread happens to be small, and then calls a difference where there is
/// none more often than he says. So as long as no difference is clear, the width is that of `symmetricHalfWidth`: it does not know
/// which of the two is the larger in any block. If there is no difference, each block's order is as likely as its mirror image, also
/// among the comparisons that end here, and Wilcoxon's test, which counts those images, stays exact. Once a difference is clear, it
/// would only widen what is looked at, and the interval itself counts. `make stats-proof` counts what remains.
public struct StoppingRule: Sendable, Hashable {
    /// Half of the width that every interval must reach, as a part of its ratio: 0.03 for ±3 %.
    public var target: Double
    /// No end before so many blocks.
    public static let least = 20
    /// Below this p a difference is clear.
    static let clear = 0.0001

    /// A rule with this target, greater than 0.
    public init(target: Double) { self.target = target }

    /// After how many blocks to look again; nil when these are enough for this pair.
    ///
    /// - Parameters:
    ///   - first: one value a block, greater than 0; at least `least` blocks.
    ///   - second: one value a block, in the same order.
    public func nextLook(
        _ first: [Double], _ second: [Double], using generator: inout SeededGenerator
    ) -> Int? {
        let width: Double
        if SignedRank(PairedRatio.differences(first, second)).p < Self.clear {
            // What decided is diluted by blocks that had no part in it.
            let decisive = first.count - first.count / 5
            width =
                PairedRatio(Array(first.prefix(decisive)), Array(second.prefix(decisive)), using: &generator).halfWidth
        } else {
            width = PairedRatio.symmetricHalfWidth(first, second, using: &generator)
        }
        guard width > target else { return nil }
        // An interval narrows with the root of the blocks; a tenth more, so that most comparisons are done at the next look.
        let needed = Double(first.count) * (width / target) * (width / target) * 1.1
        return max(first.count + max(1, first.count / 5), Int(min(needed, 1e9).rounded(.up)))
    }
}
