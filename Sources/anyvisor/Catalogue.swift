import Abstractions
import Filters
import Host
import PluginKit

/// Every backend that can be had here, and how chains of them are made.
struct Catalogue: Sendable {
    /// All backends by name.
    let registry: BackendRegistry
    /// Who was passed over in this command, and why.
    let log: FallbackLog
    /// Chains and options of the user's configuration.
    let preferences: Preferences

    /// What the user prefers, with the built-in defaults.
    struct Preferences: Sendable {
        var hypervisors = ["kvm", "qemu"]
        var disks = ["direct", "vdfuse", "libguestfs"]
    }

    /// Names of backends that are planned or need an own installation: a rejected candidate, not an unknown word.
    private static let knownNames: Set<String> = [
        "qemu", "kvm", "vbox", "xen", "test", "vboxmanage", "memory", "direct", "vdfuse", "libguestfs",
    ]

    /// Reads the manifests.
    ///
    /// - Throws: `alreadyExists` when two plugins of a kind have one name.
    static func load(log: FallbackLog = FallbackLog(), preferences: Preferences = Preferences()) throws -> Catalogue {
        var registry = BackendRegistry(knownNames: knownNames, aliases: ["virtualbox": ["vbox", "vboxmanage"]])
        for manifest in manifests() { try registry.register(manifest.descriptor) }
        return Catalogue(registry: registry, log: log, preferences: preferences)
    }

    /// Every manifest that is found; a broken one is left out, and reported when somebody asks about plugins.
    static func manifests(reportBroken: Bool = false) -> [PluginManifest] {
        var folders = (HostEnvironment.variable("ANYVISOR_PLUGIN_PATH") ?? "").split(separator: ":")
            .map { HostPath(String($0)) }
        if let own = ResourceFolders.find("plugins") { folders.append(own) }
        return PluginDiscovery.manifests(in: folders) { problem in
            if reportBroken { Terminal.talk("anyvisor: \(problem)") }
        }
    }

    /// The manifests of a name.
    ///
    /// - Throws: `notFound` with the nearest known name.
    static func manifests(named name: String) throws -> [PluginManifest] {
        let all = manifests(reportBroken: true)
        let found = all.filter { $0.name == name }
        if found.isEmpty {
            let hint = nearest(to: name, among: all.map(\.name)).map { ", did you mean '\($0)'?" } ?? ""
            throw BackendError(.notFound, "plugin", "no plugin '\(name)'\(hint)", blame: .caller)
        }
        return found
    }

    /// The disk backends to try: those named on the command line, else the preferred ones.
    func diskNames(_ given: String?) throws -> [String] {
        try registry.expand(given.map(split) ?? preferences.disks, .disk)
    }

    /// The hypervisors to try.
    func hypervisorNames(_ given: String?) throws -> [String] {
        try registry.expand(given.map(split) ?? preferences.hypervisors, .hypervisor)
    }

    /// The disk backends as one that falls back.
    func diskChain(_ given: String?) throws -> any DiskAccess {
        FallbackDisk(
            try registry.diskCandidates(try diskNames(given)), log: log,
            staging: CopyStaging(
                announce: { try RunScope.current?.journal.append(.path($0)) }, remove: { try HostFiles.removeTree($0) })
        )
    }

    /// One disk backend by name.
    func disk(_ name: String) async throws -> any DiskAccess {
        guard let candidate = try registry.diskCandidates([name]).first else { throw missing(name) }
        return try await candidate.make()
    }

    /// One hypervisor by name.
    func hypervisor(_ name: String, options: [String: String] = [:]) async throws -> any Hypervisor {
        guard let candidate = try registry.hypervisorCandidates([name], options: { _ in options }).first else {
            throw missing(name)
        }
        return try await candidate.make()
    }

    /// Says on standard error who was passed over.
    func reportRejections() {
        for rejection in log.rejections {
            Terminal.talk(
                "anyvisor: \(rejection.backend) \(rejection.how) in \(rejection.operation): \(rejection.message)")
        }
    }

    private func missing(_ name: String) -> BackendError {
        BackendError(.unavailable, "backend", "backend '\(name)' is not installed")
    }

    private func split(_ names: String) -> [String] { names.split(separator: ",").map(String.init) }
}
