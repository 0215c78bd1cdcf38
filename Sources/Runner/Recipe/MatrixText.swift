/// A text with references such as `${{ matrix.version }}` in it, cut into pieces.
struct MatrixText {
    static let opening = "${{"
    private static let closing = "}}"

    enum Piece: Hashable {
        case text(String)
        /// What stands between the brackets, without the spaces around it.
        case reference(String)
        /// An opening that nothing on its line closes.
        case unclosed
    }

    private(set) var pieces: [Piece] = []

    init(_ text: String) {
        var rest = text[...]
        while let start = rest.firstRange(of: Self.opening) {
            pieces.append(.text(String(rest[..<start.lowerBound])))
            rest = rest[start.upperBound...]
            guard let end = rest.firstRange(of: Self.closing),
                !rest[..<end.lowerBound].contains(where: \.isNewline),
                !rest[..<end.lowerBound].contains(Self.opening)
            else {
                pieces.append(.unclosed)
                continue
            }
            let inside = rest[..<end.lowerBound].drop(while: \.isWhitespace)
            pieces.append(.reference(String(inside.reversed().drop(while: \.isWhitespace).reversed())))
            rest = rest[end.upperBound...]
        }
        pieces.append(.text(String(rest)))
    }

    /// The text with the values of a cell, which has all of the names.
    func filled(_ cell: MatrixCell) -> String {
        let values = Dictionary(cell.values.map { ("matrix.\($0.name)", $0.text) }) { first, _ in first }
        return pieces.map { piece in
            switch piece {
            case .text(let text): text
            case .reference(let name): values[name] ?? ""
            case .unclosed: Self.opening
            }
        }.joined()
    }
}
