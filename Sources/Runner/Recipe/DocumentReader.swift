import Abstractions
import Host
import Yams

/// Reads typed values out of a YAML document and collects everything that is wrong with it, so that one look shows all of it.
///
/// A reading method that answers nil has complained already.
final class DocumentReader {
    private let file: String
    private(set) var diagnostics: [Diagnostic] = []
    private var lines: [Substring] = []

    init(file: HostPath) { self.file = file.string }

    /// The document's top mapping.
    ///
    /// - Throws: `Problems` when the file cannot be read or is not YAML.
    func top(of path: HostPath) throws -> Node {
        let text: String
        do {
            text = try HostFiles.readText(path, limit: 1 << 20)
        } catch {
            let known = BackendError.wrapping(error, "recipe.read")
            throw Problems([Diagnostic(.init(file: file), known.message)])
        }
        lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        do {
            guard let node = try Yams.compose(yaml: text) else {
                throw Problems([Diagnostic(.init(file: file), "the file is empty")])
            }
            return node
        } catch let error as YamlError {
            throw Problems([diagnostic(error)])
        }
    }

    private func diagnostic(_ error: YamlError) -> Diagnostic {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return Diagnostic(.init(file: file, line: mark.line, column: mark.column), problem)
        case .duplicatedKeysInMapping(let keys, let context):
            return Diagnostic(
                .init(file: file, line: context.mark.line, column: context.mark.column),
                "key '\(keys.map { "\($0)" }.joined(separator: "', '"))' is there twice")
        default:
            return Diagnostic(.init(file: file), "not YAML: \(error)")
        }
    }

    func place(_ node: Node) -> Diagnostic.Place {
        Diagnostic.Place(file: file, line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    }

    func complain(_ node: Node, _ message: String) {
        diagnostics.append(Diagnostic(place(node), message))
    }

    /// Complains about a text within a scalar: about its nth occurrence from the scalar's beginning, counted from 0.
    func complain(_ node: Node, occurrence: Int, of text: String, _ message: String) {
        diagnostics.append(Diagnostic(place(node, occurrence, of: text), message))
    }

    /// The scalar's own place when the file has the text in another way, as with escapes.
    private func place(_ node: Node, _ occurrence: Int, of text: String) -> Diagnostic.Place {
        let start = place(node)
        var left = occurrence
        for (index, line) in lines.enumerated().dropFirst(start.line - 1) {
            let scalars = line.unicodeScalars
            var rest = index == start.line - 1 ? Substring(scalars.dropFirst(start.column - 1)) : line
            while let range = rest.firstRange(of: text) {
                if left == 0 {
                    let column = scalars.distance(from: scalars.startIndex, to: range.lowerBound) + 1
                    return Diagnostic.Place(file: file, line: index + 1, column: column)
                }
                left -= 1
                rest = rest[range.upperBound...]
            }
        }
        return start
    }

    /// The values of a mapping by key; unknown keys are complained about.
    func fields(_ node: Node, _ what: String, known: [String]) -> [String: Node]? {
        guard let pairs = pairs(node, what) else { return nil }
        var fields: [String: Node] = [:]
        for (key, name, value) in pairs {
            guard known.contains(name) else {
                let hint =
                    nearest(to: name, among: known).map { "did you mean '\($0)'?" }
                    ?? "known: \(known.joined(separator: ", "))"
                complain(key, "unknown key '\(name)' in \(what), \(hint)")
                continue
            }
            fields[name] = value
        }
        return fields
    }

    /// The entries of a mapping whose keys are free.
    func pairs(_ node: Node, _ what: String) -> [(key: Node, name: String, value: Node)]? {
        guard case .mapping(let mapping) = node else {
            complain(node, "\(what) must be a mapping of keys and values")
            return nil
        }
        return mapping.compactMap { key, value in
            guard case .scalar(let scalar) = key else {
                complain(key, "a key in \(what) must be plain text")
                return nil
            }
            return (key, scalar.string, value)
        }
    }

    func text(_ node: Node, _ what: String) -> String? {
        guard case .scalar(let scalar) = node, node.tag != Tag(.null), !scalar.string.isEmpty else {
            complain(node, "\(what) must be text")
            return nil
        }
        return scalar.string
    }

    func integer(_ node: Node, _ what: String, in range: ClosedRange<Int>) -> Int? {
        guard case .scalar(let scalar) = node, let number = Int(scalar.string), range.contains(number) else {
            complain(node, "\(what) must be a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    func bytes(_ node: Node, _ what: String) -> ByteCount? {
        guard case .scalar(let scalar) = node, let count = ByteCount(parsing: scalar.string), count.bytes > 0 else {
            complain(node, "\(what) must be a size such as 512MiB or 2GiB")
            return nil
        }
        return count
    }

    func duration(_ node: Node, _ what: String) -> Duration? {
        guard case .scalar(let scalar) = node, let duration = Duration(parsing: scalar.string), duration > .zero else {
            complain(node, "\(what) must be a time with its unit, such as 500ms, 60s, 10min or 2h")
            return nil
        }
        return duration
    }

    func word<Value: RawRepresentable & CaseIterable>(_ node: Node, _ what: String, as type: Value.Type) -> Value?
    where Value.RawValue == String {
        guard let text = text(node, what) else { return nil }
        if let value = Value(rawValue: text) { return value }
        complain(
            node, "\(what) must be one of \(Value.allCases.map(\.rawValue).joined(separator: ", ")), not '\(text)'")
        return nil
    }

    /// The elements of a list, or of a single value as a list of one.
    func list(_ node: Node, _ what: String) -> [Node] {
        if case .sequence(let sequence) = node { return Array(sequence) }
        if case .scalar = node, node.tag != Tag(.null) { return [node] }
        complain(node, "\(what) must be a list")
        return []
    }

    func texts(_ node: Node, _ what: String) -> [String] {
        list(node, what).compactMap { text($0, "each of \(what)") }
    }
}

extension Duration {
    /// Reads `500ms`, `60s`, `10min`, `2h`; nil for anything else.
    init?(parsing text: String) {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text.dropFirst(digits.count).drop { $0 == " " }
        let factors: [String: Double] = ["ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600]
        guard let number = Double(digits), let factor = factors[String(unit)], number < 1e9 else { return nil }
        self = .milliseconds(Int64(number * factor * 1000))
    }
}
