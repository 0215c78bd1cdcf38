import Abstractions

/// The backends of one kind that a run may use, in order.
struct Candidates: Sendable {
    /// Those that have a descriptor.
    var descriptors: [BackendDescriptor]
    /// The options of each.
    var options: [String: [String: String]]
    /// Names that are known and not to be had here.
    var missing: [Rejection]

    /// - Throws: `invalidArgument` for a name that nobody knows.
    init(_ preference: BackendPreference, _ kind: BackendKind, _ registry: BackendRegistry) throws {
        guard !preference.prefer.isEmpty else {
            throw BackendError(
                .invalidArgument, "plan", "no \(kind.rawValue) is chosen, name one in the recipe or in anyvisor.yaml")
        }
        descriptors = []
        missing = []
        options = preference.options
        var seen: Set<String> = []
        for name in try registry.expand(preference.prefer, kind) where seen.insert(name).inserted {
            if let descriptor = registry.find(name, kind) {
                descriptors.append(descriptor)
            } else {
                let error = BackendError(
                    .unavailable, "plan", "\(kind.rawValue) '\(name)' is not installed", backend: name)
                missing.append(Rejection(kind: kind, backend: name, during: "resolve", error: error, afterMs: 0))
            }
        }
    }

    func values(for descriptor: BackendDescriptor) throws -> OptionValues {
        do {
            return try OptionValues(options[descriptor.name] ?? [:], declared: descriptor.options)
        } catch {
            throw BackendError.wrapping(error, "plan").named(descriptor.name)
        }
    }
}

/// A backend that was tried and given up.
public struct Rejection: Sendable, Hashable, Codable {
    /// What it serves.
    public var kind: BackendKind
    /// Its name.
    public var backend: String
    /// The phase in which it failed.
    public var during: String
    /// How it failed.
    public var error: BackendError
    /// When, in milliseconds from the start of the run.
    public var afterMs: Int64
}
