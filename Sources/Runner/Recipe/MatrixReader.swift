import Abstractions
import Yams

/// Reads `matrix:` and puts its values into the rest of a recipe: on the document's nodes, before they are read as anything, so that
/// every place stays where it is.
struct MatrixReader {
    let document: DocumentReader

    /// Most runs that one recipe may have.
    static let most = 1000

    /// A name and its values.
    private struct Axis {
        var name: String
        var values: [String]
    }

    /// The cells of a recipe that has a `matrix:`, the last name the fastest; nil without one, empty after a complaint.
    func cells(_ top: Node) -> [MatrixCell]? {
        guard case .mapping(let mapping) = top,
            let node = mapping.first(where: { $0.key.string == RecipeReader.matrixKey })?.value
        else { return nil }
        let axes = axes(node)
        references(top, axes.map { "matrix.\($0.name)" })
        guard document.diagnostics.isEmpty else { return [] }
        return axes.reduce([MatrixCell()]) { cells, axis in
            cells.flatMap { cell in axis.values.map { cell.with(axis.name, $0) } }
        }
    }

    private func axes(_ node: Node) -> [Axis] {
        var axes: [Axis] = []
        var names: [String: String] = [:]
        let pairs = document.pairs(node, "matrix")
        if pairs?.isEmpty == true { document.complain(node, "matrix is empty") }
        for (key, name, value) in pairs ?? [] {
            guard TaskReader.isName(name) else {
                document.complain(
                    key, "matrix name '\(name)' must be letters, digits, dots, underscores and dashes, at most 64")
                continue
            }
            let variable = MatrixCell.variable(name)
            if let other = names.updateValue(name, forKey: variable) {
                document.complain(key, "'\(other)' and '\(name)' would both be the variable \(variable)")
            }
            axes.append(Axis(name: name, values: values(value, "matrix.\(name)")))
        }
        let count = axes.reduce(1) { count, axis in
            let (product, isTooMuch) = count.multipliedReportingOverflow(by: max(1, axis.values.count))
            return isTooMuch ? .max : product
        }
        if count > Self.most { document.complain(node, "the matrix has \(count) runs, more than \(Self.most)") }
        return axes
    }

    private func values(_ node: Node, _ what: String) -> [String] {
        if case .sequence(let sequence) = node, sequence.isEmpty { document.complain(node, "\(what) is empty") }
        var values: Set<String> = []
        return document.list(node, what).compactMap { node in
            guard let text = document.text(node, "each of \(what)") else { return nil }
            guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) }) else {
                document.complain(node, "each of \(what) must be one line of text")
                return nil
            }
            if !values.insert(text).inserted { document.complain(node, "\(what) has '\(text)' twice") }
            return text
        }
    }

    /// Complains about each reference outside `matrix:` that is none of those known.
    private func references(_ node: Node, _ known: [String], isTop: Bool = true) {
        switch node {
        case .mapping(let mapping):
            for (key, value) in mapping where !isTop || key.string != RecipeReader.matrixKey {
                references(value, known, isTop: false)
            }
        case .sequence(let sequence):
            for node in sequence { references(node, known, isTop: false) }
        case .scalar(let scalar):
            var number = 0
            for piece in MatrixText(scalar.string).pieces {
                let problem: String
                switch piece {
                case .text: continue
                case .reference(let name) where known.contains(name):
                    number += 1
                    continue
                case .reference(let name):
                    let hint =
                        nearest(to: name, among: known).map { "did you mean '\($0)'?" }
                        ?? "known: \(known.joined(separator: ", "))"
                    problem = "unknown reference '\(name)', \(hint)"
                case .unclosed: problem = "'${{' is not closed by '}}' on its line"
                }
                document.complain(node, occurrence: number, of: MatrixText.opening, problem)
                number += 1
            }
        case .alias: break
        }
    }

    /// The node with all references replaced; keys and `matrix:` itself stay.
    func filled(_ node: Node, _ cell: MatrixCell, isTop: Bool = true) -> Node {
        switch node {
        case .mapping(let mapping):
            let pairs = mapping.map { key, value in
                (key, isTop && key.string == RecipeReader.matrixKey ? value : filled(value, cell, isTop: false))
            }
            return .mapping(.init(pairs, mapping.tag, mapping.style, mapping.mark))
        case .sequence(let sequence):
            let nodes = sequence.map { filled($0, cell, isTop: false) }
            return .sequence(.init(nodes, sequence.tag, sequence.style, sequence.mark))
        case .scalar(let scalar):
            guard scalar.string.contains(MatrixText.opening) else { return node }
            // Text whatever it looks like: a value that reads `null` is no missing value.
            return .scalar(.init(MatrixText(scalar.string).filled(cell), Tag(.str), scalar.style, scalar.mark))
        case .alias: return node
        }
    }
}
