import Abstractions
import Host

/// What holds for every run of a user: which backends to try and how long to wait.
///
/// Layers, the strongest first: command line, recipe, `anyvisor.yaml` of the current folder, the user's own
/// `$XDG_CONFIG_HOME/anyvisor/anyvisor.yaml`, the defaults that the program passes in.
public struct Configuration: Sendable, Hashable {
    /// The hypervisors to try.
    public var hypervisor: BackendPreference
    /// The disk backends to try.
    public var disk: BackendPreference
    /// Deadlines.
    public var deadlines: Deadlines
    /// Where names of backends stand, for messages.
    var places: [String: Diagnostic.Place] = [:]

    /// The defaults of a program.
    public init(hypervisor: [String], disk: [String], deadlines: Deadlines = .standard) {
        self.hypervisor = BackendPreference(prefer: hypervisor)
        self.disk = BackendPreference(prefer: disk)
        self.deadlines = deadlines
    }

    /// The files that are read when they exist, the weakest first.
    public static var usualFiles: [HostPath] {
        let user = HostEnvironment.variable("XDG_CONFIG_HOME").map { HostPath($0) }
        return [
            (user ?? HostEnvironment.home.appending(".config")).appending("anyvisor/anyvisor.yaml"), "anyvisor.yaml",
        ]
    }

    /// This configuration with the files that exist laid over it, the last the strongest.
    ///
    /// - Throws: `Problems` of the first file that has some.
    public func reading(_ files: [HostPath] = Configuration.usualFiles) throws -> Configuration {
        var configuration = self
        for file in files where HostFiles.exists(file) { try configuration.read(file) }
        return configuration
    }

    private mutating func read(_ file: HostPath) throws {
        let document = DocumentReader(file: file)
        let top = try document.top(of: file)
        let fields = document.fields(top, "the configuration", known: ["hypervisor", "disk", "deadlines"]) ?? [:]
        let layer = LayerReader(document: document)
        var places: [String: Diagnostic.Place] = [:]
        hypervisor = layer.preference(fields["hypervisor"], "hypervisor", &places).over(hypervisor)
        disk = layer.preference(fields["disk"], "disk", &places).over(disk)
        deadlines = deadlines.merging(layer.deadlines(fields["deadlines"]))
        self.places.merge(places) { $1 }
        guard document.diagnostics.isEmpty else { throw Problems(document.diagnostics) }
    }
}
