/// Which protocol a backend serves.
public enum BackendKind: String, Sendable, Codable, Hashable, CaseIterable {
    /// `Hypervisor`.
    case hypervisor
    /// `DiskAccess`.
    case disk
}

/// A backend that can be had: what it is called, what it takes and how it is made.
public struct BackendDescriptor: Sendable {
    /// Its name in configuration.
    public var name: String
    /// One sentence for `anyvisor backends`.
    public var summary: String
    /// The options it takes.
    public var options: [OptionDeclaration]
    /// What one chooses it by, beside what it says itself.
    public var about: About
    /// How to make it; touches the world only when called.
    public var factory: Factory

    /// What one chooses a backend by.
    public struct About: Sendable, Codable, Hashable {
        /// The host systems it runs on.
        public var hosts: [String]
        /// The guest systems, or for a disk backend the file systems, it serves.
        public var guests: [String]
        /// The licence of what it drives.
        public var licence: String?
        /// What of the host its machines do not share with another kind of user, and as which kind they use it.
        public var exclusive: [String: String]
        /// Says what is known.
        public init(
            hosts: [String] = [], guests: [String] = [], licence: String? = nil, exclusive: [String: String] = [:]
        ) {
            self.hosts = hosts
            self.guests = guests
            self.licence = licence
            self.exclusive = exclusive
        }
    }

    /// Makes a backend from checked options.
    public enum Factory: Sendable {
        /// Makes a hypervisor backend.
        case hypervisor(@Sendable (OptionValues) async throws -> any Hypervisor)
        /// Makes a disk backend.
        case disk(@Sendable (OptionValues) async throws -> any DiskAccess)
    }

    /// Which protocol it serves.
    public var kind: BackendKind {
        switch factory {
        case .hypervisor: .hypervisor
        case .disk: .disk
        }
    }

    /// Describes a backend.
    public init(
        name: String, summary: String, options: [OptionDeclaration] = [], about: About = About(), factory: Factory
    ) {
        self.name = name
        self.summary = summary
        self.options = options
        self.about = about
        self.factory = factory
    }
}

/// The backends that are known, as a value; there is no global one.
public struct BackendRegistry: Sendable {
    /// All descriptors in the order of registration.
    public private(set) var descriptors: [BackendDescriptor] = []
    /// Names that DESIGN knows and that have no descriptor here: a rejected candidate, not an error.
    public var knownNames: Set<String>
    /// Names that stand for a chain.
    public var aliases: [String: [String]]

    /// Starts empty.
    public init(knownNames: Set<String> = [], aliases: [String: [String]] = [:]) {
        self.knownNames = knownNames
        self.aliases = aliases
    }

    /// Adds a backend.
    ///
    /// - Throws: `alreadyExists` when the kind has one with this name.
    public mutating func register(_ descriptor: BackendDescriptor) throws {
        guard find(descriptor.name, descriptor.kind) == nil else {
            throw BackendError(
                .alreadyExists, "registry", "two \(descriptor.kind.rawValue) backends are called '\(descriptor.name)'")
        }
        descriptors.append(descriptor)
    }

    /// All backends of a kind.
    public func all(_ kind: BackendKind) -> [BackendDescriptor] { descriptors.filter { $0.kind == kind } }

    /// A backend by name, nil when it has no descriptor.
    public func find(_ name: String, _ kind: BackendKind) -> BackendDescriptor? {
        descriptors.first { $0.name == name && $0.kind == kind }
    }

    /// Expands aliases and checks every name.
    ///
    /// - Throws: `invalidArgument` for a name that nobody knows, with the nearest known one.
    public func expand(_ names: [String], _ kind: BackendKind) throws -> [String] {
        try names.flatMap { aliases[$0] ?? [$0] }.map { name in
            let known = all(kind).map(\.name) + knownNames.sorted() + aliases.keys.sorted()
            guard known.contains(name) else {
                let hint = nearest(to: name, among: known).map { ", did you mean '\($0)'?" } ?? ""
                throw BackendError(
                    .invalidArgument, "registry",
                    "unknown \(kind.rawValue) backend '\(name)'\(hint) known: \(all(kind).map(\.name).joined(separator: ", "))"
                )
            }
            return name
        }
    }
}
