/// The values that tell one run of a recipe's `matrix:` from the others; empty for a recipe without one.
public struct MatrixCell: Sendable, Hashable {
    /// A value for each name, in the order in which the names stand in the recipe.
    public var values: [Value] = []

    /// A value under its name.
    public struct Value: Sendable, Hashable {
        /// The name, as in `${{ matrix.NAME }}`.
        public var name: String
        /// One line of text.
        public var text: String
    }

    /// What every task gets in its environment.
    var environment: [String: String] {
        Dictionary(values.map { (Self.variable($0.name), $0.text) }) { first, _ in first }
    }

    func with(_ name: String, _ text: String) -> MatrixCell {
        MatrixCell(values: values + [Value(name: name, text: text)])
    }

    /// The variable that a name becomes: `python-version` is `MATRIX_PYTHON_VERSION`.
    static func variable(_ name: String) -> String {
        "MATRIX_" + String(name.uppercased().map { $0 == "-" || $0 == "." ? "_" : $0 })
    }
}
