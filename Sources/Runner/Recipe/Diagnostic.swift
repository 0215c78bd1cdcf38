/// Something wrong in a file that a person wrote, with its place.
public struct Diagnostic: Sendable, Hashable, Codable, CustomStringConvertible {
    /// Where it is.
    public var place: Place
    /// What is wrong and what to do: lower case.
    public var message: String

    /// Notes a problem.
    public init(_ place: Place, _ message: String) {
        self.place = place
        self.message = message
    }

    /// `file:line:column: message`.
    public var description: String { "\(place): \(message)" }

    /// A place in a file; lines and columns count from 1.
    public struct Place: Sendable, Hashable, Codable, CustomStringConvertible {
        /// The file as the user named it.
        public var file: String
        /// The line.
        public var line: Int
        /// The column.
        public var column: Int

        /// Names a place.
        public init(file: String, line: Int = 1, column: Int = 1) {
            self.file = file
            self.line = line
            self.column = column
        }

        /// `file:line:column`.
        public var description: String { "\(file):\(line):\(column)" }
    }
}

/// All that is wrong with a recipe or a configuration; never empty.
public struct Problems: Error, Sendable, Hashable, CustomStringConvertible {
    /// The problems in the order of their places.
    public var diagnostics: [Diagnostic]

    /// Sorts the problems by their place, each once: the runs of a matrix share most of theirs.
    public init(_ diagnostics: [Diagnostic]) {
        var seen: Set<Diagnostic> = []
        self.diagnostics = diagnostics.filter { seen.insert($0).inserted }.sorted {
            ($0.place.file, $0.place.line, $0.place.column) < ($1.place.file, $1.place.line, $1.place.column)
        }
    }

    /// One problem a line.
    public var description: String { diagnostics.map(\.description).joined(separator: "\n") }
}
