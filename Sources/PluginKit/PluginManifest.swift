import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What `plugins/<name>/plugin.json` says of a plugin.
public struct PluginManifest: Codable, Sendable, Hashable {
    /// Its name in configuration: one path component.
    public var name: String
    /// What it serves.
    public var kind: BackendKind
    /// One sentence.
    public var summary: String
    /// The program: a file inside the manifest's folder, or the name of one beside `anyvisor`.
    public var program: String
    /// What the program gets on its command line.
    public var arguments: [String]
    /// The options it takes.
    public var options: [OptionDeclaration]
    /// What one chooses it by: `hosts`, `guests`, `licence`; and `exclusive`.
    public var about: BackendDescriptor.About
    /// The manifest's folder.
    public var folder: HostPath

    private enum CodingKeys: String, CodingKey {
        case name, kind, summary, program, arguments, options, hosts, guests, licence, exclusive, folder
    }

    /// Reads a manifest; all but `name`, `kind` and `program` may be left out.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        name = try container.decode(String.self, forKey: .name)
        kind = try container.decode(BackendKind.self, forKey: .kind)
        summary = try container.decodeIfPresent(String.self, forKey: .summary) ?? ""
        program = try container.decode(String.self, forKey: .program)
        arguments = try container.decodeIfPresent([String].self, forKey: .arguments) ?? []
        options = try container.decodeIfPresent([OptionDeclaration].self, forKey: .options) ?? []
        about = BackendDescriptor.About(
            hosts: try container.decodeIfPresent([String].self, forKey: .hosts) ?? [],
            guests: try container.decodeIfPresent([String].self, forKey: .guests) ?? [],
            licence: try container.decodeIfPresent(String.self, forKey: .licence),
            exclusive: try container.decodeIfPresent([String: String].self, forKey: .exclusive) ?? [:])
        folder = try container.decodeIfPresent(HostPath.self, forKey: .folder) ?? "."
    }

    /// Writes a manifest as it is read.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(kind, forKey: .kind)
        try container.encode(summary, forKey: .summary)
        try container.encode(program, forKey: .program)
        try container.encode(arguments, forKey: .arguments)
        try container.encode(options, forKey: .options)
        try container.encode(about.hosts, forKey: .hosts)
        try container.encode(about.guests, forKey: .guests)
        try container.encodeIfPresent(about.licence, forKey: .licence)
        try container.encode(about.exclusive, forKey: .exclusive)
        try container.encode(folder, forKey: .folder)
    }

    /// Reads and checks the manifest in a folder.
    ///
    /// - Throws: `invalidArgument` that says what is wrong with it; `permissionDenied` when everybody may write to it, its folder or its
    ///   program.
    public init(folder: HostPath) throws {
        let path = folder.appending("plugin.json")
        let bytes = try HostFiles.read(path, limit: 1 << 20)
        do {
            self = try JSONDecoder().decode(PluginManifest.self, from: Data(bytes))
        } catch {
            throw BackendError(.invalidArgument, "plugin.manifest", "\(path) is not a manifest: \(error)")
        }
        self.folder = folder
        let plain = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || $0 == 0x2d
                || $0 == 0x5f
        }
        guard plain, !name.isEmpty else {
            throw BackendError(
                .invalidArgument, "plugin.manifest",
                "\(path): name '\(name)' is not letters, digits, dashes and underscores")
        }
        guard !program.split(separator: "/").contains(".."), !program.hasPrefix("/"), !program.isEmpty else {
            throw BackendError(
                .invalidArgument, "plugin.manifest", "\(path): program '\(program)' lies outside the folder")
        }
        for word in about.exclusive.flatMap({ [$0.key, $0.value] })
        where word.isEmpty || !word.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) }) {
            throw BackendError(
                .invalidArgument, "plugin.manifest", "\(path): exclusive '\(word)' is not lower case letters and digits"
            )
        }
        for place in [path, folder, folder.appending(program)] where PluginManifest.isOpenToAll(place) {
            throw BackendError(
                .permissionDenied, "plugin.manifest", "\(place) can be written by everybody; chmod o-w it")
        }
    }

    /// Whether everybody may replace it; a sticky folder like `/tmp` lets nobody replace what others own.
    private static func isOpenToAll(_ path: HostPath) -> Bool {
        var info = stat()
        guard stat(path.string, &info) == 0 else { return false }
        return info.st_mode & 0o002 != 0 && info.st_mode & 0o1000 == 0
    }

    /// The program's file.
    ///
    /// - Parameter folders: where it is searched, in order, when the manifest's folder does not have it.
    /// - Throws: `unavailable` when it is nowhere.
    public func programFile(in folders: [HostPath] = [HostEnvironment.executableFolder]) throws -> HostPath {
        for candidate in ([folder] + folders).map({ $0.appending(program) })
        where access(candidate.string, X_OK) == 0 && !HostFiles.isDirectory(candidate) {
            return candidate
        }
        throw BackendError(
            .unavailable, "plugin", "the program '\(program)' of plugin '\(name)' is not installed", backend: name)
    }

    /// The backend behind the plugin, made when it is asked for.
    ///
    /// - Parameter folders: where its program is searched, see `programFile`.
    public func descriptor(programs folders: [HostPath] = [HostEnvironment.executableFolder]) -> BackendDescriptor {
        let make: @Sendable (OptionValues) throws -> PluginHost = { values in
            PluginHost(self, program: try programFile(in: folders), options: values.values)
        }
        let factory: BackendDescriptor.Factory =
            switch kind {
            case .hypervisor: .hypervisor { RemoteHypervisor(try make($0)) }
            case .disk: .disk { RemoteDiskAccess(try make($0)) }
            }
        return BackendDescriptor(name: name, summary: summary, options: options, about: about, factory: factory)
    }
}

/// Where plugins are found.
public enum PluginDiscovery {
    /// All manifests of the folders: each is a folder of plugin folders. A broken manifest is left out and reported.
    public static func manifests(
        in folders: [HostPath], broken: (BackendError) -> Void = { _ in }
    ) -> [PluginManifest] {
        var found: [PluginManifest] = []
        for folder in folders {
            for name in HostFiles.names(in: folder)
            where HostFiles.exists(folder.appending(name).appending("plugin.json")) {
                do {
                    let manifest = try PluginManifest(folder: folder.appending(name))
                    // The first folder wins.
                    if !found.contains(where: { $0.name == manifest.name && $0.kind == manifest.kind }) {
                        found.append(manifest)
                    }
                } catch {
                    broken(BackendError.wrapping(error, "plugin.manifest"))
                }
            }
        }
        return found
    }
}
