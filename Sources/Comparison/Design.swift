import Abstractions
import Statistics

/// What a comparison compares, and in which order it measures: everything that is settled before the first sample.
///
/// Every block measures every cell once, in a fresh random order, so that a machine that becomes slower or faster meanwhile meets all
/// cells alike (randomised complete blocks; Fisher, "The Design of Experiments", 1935).
public struct Design: Sendable, Hashable, Codable {
    /// Version of the layout of `raw.jsonl`.
    public var schema = 1
    /// What is run: a recipe's name, or `builtin:NAME`.
    public var name: String
    /// The recipe's file, `builtin:NAME` for one that ships, nil for a benchmark of disk backends.
    public var recipe: String?
    /// The SHA-256 of the recipe's bytes.
    public var recipeHash: String?
    /// The recipe as it was.
    public var recipeText: String?
    /// What is varied, in the order in which cells are named.
    public var factors: [Factor]
    /// Combinations that are left out, each with the levels that it has.
    public var excluded: [[String: String]] = []
    /// Blocks that count; with `halfWidth` the most of them.
    public var blocks: Int
    /// Blocks before them that do not count.
    public var warmUpBlocks: Int
    /// What all random orders and resamples follow from.
    public var seed: UInt64
    /// The quantity that the verdict is about.
    public var quantity: String
    /// Ends earlier when half of every interval's width is at most this part of its ratio.
    public var halfWidth: Double?

    /// Something that is varied.
    public struct Factor: Sendable, Hashable, Codable {
        /// `hypervisor`, `disk`, `image`, `boot`, or a name of the recipe's matrix.
        public var name: String
        /// Its values, each once.
        public var levels: [String]

        /// Puts a factor together.
        public init(_ name: String, _ levels: [String]) {
            self.name = name
            self.levels = levels
        }
    }

    /// Whether a made-up guest may be measured.
    public var allowSimulated = false

    /// Puts a design together.
    public init(name: String, factors: [Factor], blocks: Int, warmUpBlocks: Int, seed: UInt64, quantity: String) {
        self.name = name
        self.factors = factors
        self.blocks = blocks
        self.warmUpBlocks = warmUpBlocks
        self.seed = seed
        self.quantity = quantity
    }

    /// Every combination that is measured, in the order of the factors.
    public var cells: [Cell] {
        let combinations = factors.reduce([[String: String]()]) { found, factor in
            found.flatMap { known in factor.levels.map { known.merging([factor.name: $0]) { $1 } } }
        }
        let varied = factors.filter { $0.levels.count > 1 }
        return combinations.filter { levels in
            !excluded.contains { $0.allSatisfy { levels[$0.key] == $0.value } }
        }.map { levels in
            let named = (varied.isEmpty ? factors : varied).compactMap { levels[$0.name] }
            return Cell(name: named.isEmpty ? name : named.joined(separator: "/"), levels: levels)
        }
    }

    /// The cells of a block in the order in which they are measured; blocks count from 0, the warm-up's first.
    public func order(ofBlock block: Int) -> [Cell] {
        var generator = SeededGenerator(seed: seed, stream: UInt64(block))
        return generator.shuffled(cells)
    }

    /// Whether there is anything to compare, and all of it can be.
    ///
    /// - Throws: `invalidArgument`.
    public func check() throws {
        func refuse(_ why: String) -> BackendError { BackendError(.invalidArgument, "compare", why, blame: .caller) }
        guard Set(factors.map(\.name)).count == factors.count else {
            throw refuse("the recipe's matrix has a name of what compare varies itself; call it otherwise")
        }
        for factor in factors where Set(factor.levels).count < factor.levels.count {
            throw refuse("\(factor.name): a value is given twice in \(factor.levels.joined(separator: ","))")
        }
        for one in excluded {
            for (name, level) in one where !factors.contains(where: { $0.name == name && $0.levels.contains(level) }) {
                throw refuse("--exclude \(name)=\(level) names nothing that is compared")
            }
        }
        guard cells.count >= 2 else {
            throw refuse(
                "there is one thing, and nothing to compare it with; give --hypervisors, --disks, --images or --boot two values"
            )
        }
        guard cells.count <= 64 else {
            throw refuse("\(cells.count) combinations are more than 64; --exclude leaves some out")
        }
    }
}

/// One of the things that are compared: a level of each factor.
public struct Cell: Sendable, Hashable, Codable {
    /// The levels that vary, such as `qemu/direct`.
    public var name: String
    /// The level of every factor.
    public var levels: [String: String]
}
