/// One option that a backend takes, declared as data: it feeds parsing, help and documentation.
public struct OptionDeclaration: Sendable, Codable, Hashable {
    /// The option's name, for example `uri`.
    public var name: String
    /// What values it takes.
    public var type: ValueType
    /// The value when none is given, as text.
    public var defaultValue: String?
    /// One sentence of help.
    public var help: String
    /// The only values it takes; empty allows all.
    public var choices: [String]

    /// Declares an option.
    public init(
        _ name: String, _ type: ValueType, default defaultValue: String? = nil, help: String, choices: [String] = []
    ) {
        self.name = name
        self.type = type
        self.defaultValue = defaultValue
        self.help = help
        self.choices = choices
    }

    /// The type of an option's value.
    public enum ValueType: String, Sendable, Codable, Hashable {
        /// Any text.
        case string
        /// A whole number.
        case integer
        /// `true` or `false`.
        case boolean
        /// A path on this host.
        case path
        /// Seconds, with a fraction.
        case seconds
    }

    enum CodingKeys: String, CodingKey {
        case name, type, help, choices
        case defaultValue = "default"
    }

    /// Reads a declaration; `choices` may be left out.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        name = try container.decode(String.self, forKey: .name)
        type = try container.decode(ValueType.self, forKey: .type)
        defaultValue = try container.decodeIfPresent(String.self, forKey: .defaultValue)
        help = try container.decode(String.self, forKey: .help)
        choices = try container.decodeIfPresent([String].self, forKey: .choices) ?? []
    }
}

/// Checked values of a backend's options; parsing is pure, only the backend's factory touches the world.
public struct OptionValues: Sendable, Codable, Hashable {
    /// Every declared option that has a value, given or default.
    public private(set) var values: [String: String]

    /// Checks `given` against the declarations and fills in the defaults.
    ///
    /// - Throws: `invalidArgument` for an unknown name (with the nearest known one) or a value of the wrong type.
    public init(_ given: [String: String], declared: [OptionDeclaration]) throws {
        var values: [String: String] = [:]
        for option in declared { values[option.name] = option.defaultValue }
        for (name, value) in given {
            guard let option = declared.first(where: { $0.name == name }) else {
                let hint = nearest(to: name, among: declared.map(\.name)).map { ", did you mean '\($0)'?" } ?? ""
                throw BackendError(.invalidArgument, "options", "unknown option '\(name)'\(hint)")
            }
            guard option.accepts(value) else {
                throw BackendError(
                    .invalidArgument, "options",
                    "option '\(name)' takes \(option.expectation), not '\(value)'")
            }
            values[name] = value
        }
        self.values = values
    }

    /// The value of an option, nil when it has none.
    public subscript(name: String) -> String? { values[name] }
    /// A whole number, nil when there is no value.
    public func integer(_ name: String) -> Int? { values[name].flatMap { Int($0) } }
    /// True only for the value `true`.
    public func flag(_ name: String) -> Bool { values[name] == "true" }
    /// Seconds as a duration, nil when there is no value.
    public func seconds(_ name: String) -> Duration? { values[name].flatMap { Double($0) }.map { .seconds($0) } }
}

extension OptionDeclaration {
    fileprivate func accepts(_ value: String) -> Bool {
        if !choices.isEmpty && !choices.contains(value) { return false }
        switch type {
        case .string, .path: return true
        case .integer: return Int(value) != nil
        case .boolean: return value == "true" || value == "false"
        case .seconds: return (Double(value) ?? -1) >= 0
        }
    }

    fileprivate var expectation: String {
        if !choices.isEmpty { return "one of " + choices.joined(separator: ", ") }
        switch type {
        case .string: return "text"
        case .path: return "a path"
        case .integer: return "a whole number"
        case .boolean: return "true or false"
        case .seconds: return "seconds"
        }
    }
}

/// The candidate with the smallest edit distance to `word`, nil when none is near (more than a third of the word apart).
public func nearest(to word: String, among candidates: [String]) -> String? {
    let limit = max(1, (word.count + 2) / 3)
    return candidates.map { ($0, editDistance(word, $0)) }
        .filter { $0.1 <= limit }
        .min { ($0.1, $0.0) < ($1.1, $1.0) }?.0
}

private func editDistance(_ left: String, _ right: String) -> Int {
    let left = Array(left), right = Array(right)
    var row = Array(0...right.count)
    for (i, a) in left.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, b) in right.enumerated() {
            let cost = a == b ? diagonal : diagonal + 1
            diagonal = row[j + 1]
            row[j + 1] = min(cost, row[j] + 1, diagonal + 1)
        }
    }
    return row[right.count]
}
