import Abstractions
import Statistics

/// A cell of a comparison against the same cell of an older one. The two were not measured in the same blocks: what the machine did
/// between them is in the ratio too.
public struct Regression: Sendable {
    private let cell: String
    private let quantity: String
    private let isLessBetter: Bool
    private let found: IndependentRatio

    /// Every cell that both have, in the newer one's chosen quantity.
    ///
    /// - Throws: `notFound` for another folder, `corrupt`.
    public static func all(from older: ComparisonFolder, to newer: ComparisonFolder) throws -> [Regression] {
        let (before, after) = (try RawLog.read(in: older.path), try RawLog.read(in: newer.path))
        let design = try newer.design()
        return design.cells.compactMap { cell in
            func values(_ lines: [RawLine]) -> [Quantity] {
                lines.compactMap(\.sample).filter { $0.isGood && !$0.isWarmUp && $0.cell == cell.name }
                    .compactMap { $0.values[design.quantity] }.filter { $0.value > 0 }
            }
            let (one, two) = (values(before), values(after))
            guard one.count >= 2, two.count >= 2, let unit = two.first?.unit else { return nil }
            var generator = SeededGenerator(seed: design.seed)
            return Regression(
                cell: cell.name, quantity: design.quantity, isLessBetter: !unit.contains("/"),
                found: IndependentRatio(one.map(\.value), two.map(\.value), using: &generator))
        }
    }

    /// Whether it is worse by more than this part, and not by chance.
    public func isSlower(by allowed: Double) -> Bool {
        isLessBetter ? found.ratio > 1 + allowed && found.low > 1 : 1 / found.ratio > 1 + allowed && found.high < 1
    }

    /// It in a line.
    public var sentence: String {
        let numbers = [found.ratio, found.low, found.high].map { Rounded.text(Rounded.number($0)) }
        return "\(cell) has \(numbers[0]) times (\(numbers[1]) to \(numbers[2])) the \(quantity) it had"
    }
}
