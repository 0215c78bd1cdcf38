import Abstractions

/// One of the runs of a command.
public struct PlannedRun: Sendable, Hashable {
    /// Its name and that of its result folder; no other run of the command has it.
    public var name: String { recipe.name }
    /// What it runs.
    public var recipe: Recipe

    /// Most runs of one command.
    public static let most = 100_000

    /// Every recipe so many times, round by round. A single run keeps the name that its recipe has.
    ///
    /// Several are named `NAME-<value>-<value>` after their matrix, and `-001` … when they are repeated.
    /// - Throws: `invalidArgument` for more than `most` runs.
    public static func all(_ recipes: [Recipe], times: Int = 1) throws -> [PlannedRun] {
        let count = recipes.count * times
        guard count <= most else {
            throw BackendError(
                .invalidArgument, "plan",
                "\(count) runs in one command are more than \(most), give it fewer recipes or a lower --repeat")
        }
        if count == 1, let only = recipes.first, only.matrix.values.isEmpty { return [PlannedRun(recipe: only)] }
        var names = RunNames()
        let width = max(3, String(times).count)
        return (1...times).flatMap { round in
            recipes.map { recipe in
                let digits = String(round)
                let ending = times == 1 ? "" : "-" + String(repeating: "0", count: width - digits.count) + digits
                var recipe = recipe
                recipe.name = names.take(
                    ([recipe.name] + recipe.matrix.values.map(\.text)).joined(separator: "-"), ending)
                return PlannedRun(recipe: recipe)
            }
        }
    }
}

/// Names of folders, each given once.
struct RunNames {
    static let longest = 64
    private var taken: Set<String> = [BatchFolder.summaryName]

    /// The text as a name with this ending; with a number before the ending when that name is taken.
    mutating func take(_ text: String, _ ending: String) -> String {
        let plain = Self.plain(text)
        var tail = ending
        var number = 1
        while true {
            let name = plain.prefix(Self.longest - tail.count) + tail
            if taken.insert(String(name)).inserted { return String(name) }
            number += 1
            tail = "-\(number)\(ending)"
        }
    }

    /// Letters, digits, dots, underscores and dashes, a letter or digit first.
    private static func plain(_ text: String) -> String {
        let scalars = text.unicodeScalars.map { scalar -> Character in
            let character = Character(scalar)
            let isPlain = scalar.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
            return isPlain ? character : "-"
        }
        let name = String(scalars.drop { "._-".contains($0) })
        return name.isEmpty ? "run" : name
    }
}
