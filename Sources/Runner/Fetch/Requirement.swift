/// A Python distribution with extras and version limits, such as `requests[socks]>=2,<3`; checked for shape only, pip reads it.
///
/// Addresses, paths and options are no requirements: nothing but the index may be a source of code.
struct Requirement: Sendable, Hashable {
    /// The text as pip takes it.
    let text: String
    /// The distribution's name by the index's rule: lower case, `-`, `_` and `.` all as one dash.
    let name: String

    init?(_ text: String) {
        let trimmed = text.filter { $0 != " " }
        let letters = trimmed.prefix { Self.isPlain($0) || $0 == "-" || $0 == "_" || $0 == "." }
        var rest = trimmed.dropFirst(letters.count)
        guard let first = letters.first, let last = letters.last, Self.isPlain(first), Self.isPlain(last) else {
            return nil
        }
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            let extras = rest[..<end].dropFirst()
            guard extras.allSatisfy({ Self.isPlain($0) || "-_.,".contains($0) }), !extras.isEmpty else { return nil }
            rest = rest[rest.index(after: end)...]
        }
        for limit in rest.split(separator: ",", omittingEmptySubsequences: false) where !rest.isEmpty {
            let signs = limit.prefix { "=<>!~".contains($0) }
            let version = limit.dropFirst(signs.count)
            guard ["==", "===", ">=", "<=", "!=", "~=", "<", ">"].contains(String(signs)), !version.isEmpty,
                version.allSatisfy({ Self.isPlain($0) || "-_.+!*".contains($0) })
            else { return nil }
        }
        self.text = trimmed
        name = letters.lowercased().split { "-_.".contains($0) }.joined(separator: "-")
    }

    private static func isPlain(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber)
    }
}
