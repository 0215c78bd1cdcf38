import Abstractions
import Filters
import Host
import PluginKit

/// Every backend that can be had here, and how chains of them are made.
package struct Catalogue: Sendable {
    /// All backends by name.
    package let registry: BackendRegistry
    /// Who was passed over, and why.
    package let log: FallbackLog
    /// Chains and options of the user's configuration.
    package let preferences: Preferences

    /// What the user prefers, with the built-in defaults.
    package struct Preferences: Sendable {
        package var hypervisors = ["kvm", "qemu"]
        package var disks = ["direct", "vdfuse", "libguestfs"]

        /// The built-in defaults.
        package init() {}
    }

    /// Names of backends that are planned or need an own installation: a rejected candidate, not an unknown word.
    private static let knownNames: Set<String> = [
        "qemu", "kvm", "vbox", "xen", "test", "vboxmanage", "memory", "direct", "vdfuse", "libguestfs",
    ]

    /// Reads the manifests.
    ///
    /// - Parameters:
    ///   - plugins: the one folder whose plugins are taken; nil for all that are found.
    ///   - broken: told of each manifest that is left out because it is not sound.
    /// - Throws: `alreadyExists` when two plugins of a kind have one name.
    package static func load(
        plugins: HostPath? = nil, log: FallbackLog = FallbackLog(), preferences: Preferences = Preferences(),
        broken: (BackendError) -> Void = { _ in }
    ) throws -> Catalogue {
        var registry = BackendRegistry(knownNames: knownNames, aliases: ["virtualbox": ["vbox", "vboxmanage"]])
        let programs = plugins.map { ResourceFolders.programs(of: $0) } ?? ResourceFolders.programs
        for manifest in manifests(in: plugins.map { [$0] } ?? pluginFolders, broken: broken) {
            try registry.register(manifest.descriptor(programs: programs))
        }
        return Catalogue(registry: registry, log: log, preferences: preferences)
    }

    /// Every manifest that is found; a broken one is left out, and told to `broken`.
    package static func manifests(
        in folders: [HostPath] = pluginFolders, broken: (BackendError) -> Void = { _ in }
    ) -> [PluginManifest] {
        PluginDiscovery.manifests(in: folders, broken: broken)
    }

    /// Where plugins are found: in the folders of `ANYVISOR_PLUGIN_PATH`, then in our own.
    package static var pluginFolders: [HostPath] {
        let given = (HostEnvironment.variable("ANYVISOR_PLUGIN_PATH") ?? "").split(separator: ":")
        return given.map { HostPath(String($0)) } + [ResourceFolders.find("plugins")].compactMap(\.self)
    }

    /// The disk backends to try: those that were given, else the preferred ones.
    package func diskNames(_ given: [String]?) throws -> [String] {
        try registry.expand(given ?? preferences.disks, .disk)
    }

    /// The hypervisors to try.
    package func hypervisorNames(_ given: [String]?) throws -> [String] {
        try registry.expand(given ?? preferences.hypervisors, .hypervisor)
    }

    /// The disk backends as one that falls back.
    ///
    /// - Throws: `invalidArgument` for a name that nobody knows, `unavailable` when no disk backend at all is installed.
    package func diskChain(_ given: [String]?) throws -> any DiskAccess {
        let names = try diskNames(given)
        guard !registry.all(.disk).isEmpty else {
            throw BackendError(
                .unavailable, "backend",
                "no disk backend is beside \(HostEnvironment.executableFolder), nor beside an anyvisor in PATH; "
                    + "`make install` installs them, or name the folder of the plugins", blame: .host)
        }
        return FallbackDisk(
            try registry.diskCandidates(names), log: log,
            staging: CopyStaging(
                announce: { try RunScope.current?.journal.append(.path($0)) }, remove: { try HostFiles.removeTree($0) })
        )
    }

    /// One disk backend by name.
    package func disk(_ name: String) async throws -> any DiskAccess {
        guard let candidate = try registry.diskCandidates([name]).first else { throw missing(name) }
        return try await candidate.make()
    }

    /// One hypervisor by name.
    package func hypervisor(_ name: String, options: [String: String] = [:]) async throws -> any Hypervisor {
        guard let candidate = try registry.hypervisorCandidates([name], options: { _ in options }).first else {
            throw missing(name)
        }
        return try await candidate.make()
    }

    private func missing(_ name: String) -> BackendError {
        BackendError(.unavailable, "backend", "backend '\(name)' is not installed")
    }
}
