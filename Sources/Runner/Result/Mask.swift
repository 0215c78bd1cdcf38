/// A regular expression for what differs from run to run; what it matches counts as equal.
struct Mask {
    private let expression: Regex<AnyRegexOutput>

    /// - Throws: why the text is not a regular expression of Swift's.
    init(_ text: String) throws { expression = try Regex(text) }

    /// The line with `*` in place of each match.
    func hide(in line: Substring) -> Substring { line.replacing(expression, with: "*") }
}
