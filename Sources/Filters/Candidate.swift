import Abstractions

/// A backend that a chain may use: its name, and how it is made when its turn comes.
public struct Candidate<Backend: Sendable>: Sendable {
    /// The backend's name in configuration.
    public var name: String
    /// Makes it; an error that falls through passes it over.
    public var make: @Sendable () async throws -> Backend

    /// Names a backend and how it is made.
    public init(_ name: String, _ make: @escaping @Sendable () async throws -> Backend) {
        self.name = name
        self.make = make
    }
}

extension BackendRegistry {
    /// The disk backends of these names, in this order. A known name that is not built in becomes a candidate that is `unavailable`.
    ///
    /// - Parameter options: the options given for a backend's name.
    /// - Throws: `invalidArgument` for a name nobody knows, or an option that the backend does not take.
    public func diskCandidates(
        _ names: [String], options: (String) -> [String: String] = { _ in [:] }
    ) throws -> [Candidate<any DiskAccess>] {
        try candidates(names, .disk, options) { factory, values in
            guard case .disk(let make) = factory else { return nil }
            return { try await make(values) }
        }
    }

    /// The hypervisor backends of these names, in this order. A known name that is not built in becomes a candidate that is
    /// `unavailable`.
    ///
    /// - Parameter options: the options given for a backend's name.
    /// - Throws: `invalidArgument` for a name nobody knows, or an option that the backend does not take.
    public func hypervisorCandidates(
        _ names: [String], options: (String) -> [String: String] = { _ in [:] }
    ) throws -> [Candidate<any Hypervisor>] {
        try candidates(names, .hypervisor, options) { factory, values in
            guard case .hypervisor(let make) = factory else { return nil }
            return { try await make(values) }
        }
    }

    private func candidates<Backend: Sendable>(
        _ names: [String], _ kind: BackendKind, _ options: (String) -> [String: String],
        _ maker: (BackendDescriptor.Factory, OptionValues) -> (@Sendable () async throws -> Backend)?
    ) throws -> [Candidate<Backend>] {
        try expand(names, kind).map { name in
            if let descriptor = find(name, kind) {
                let values = try OptionValues(options(name), declared: descriptor.options)
                if let make = maker(descriptor.factory, values) { return Candidate(name, make) }
            }
            return Candidate(name) {
                throw BackendError(
                    .unavailable, "backend.make", "\(kind.rawValue) backend '\(name)' is not part of this installation",
                    backend: name, blame: .host)
            }
        }
    }
}
