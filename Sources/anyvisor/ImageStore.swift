import Abstractions
import AnyvisorKit
import FoundationEssentials
import Host

/// The images that anyvisor can build, and those it has built, cached by the hash of what they are built from.
struct ImageStore: Sendable {
    /// Recipes: one folder an image.
    let recipes: HostPath
    /// Built images: `NAME-<hash>/`.
    let cache: HostPath

    /// Finds the recipes.
    ///
    /// - Throws: `unavailable` when the program's `guest` folder is missing.
    static func load() throws -> ImageStore {
        guard let guest = ResourceFolders.find("guest") else {
            throw BackendError(
                .unavailable, "image",
                "the folder 'guest' with the image recipes is not beside the program; install it whole",
                blame: .host)
        }
        return ImageStore(recipes: guest.appending("images"), cache: HostEnvironment.cache.appending("images"))
    }

    /// Names of all recipes.
    var names: [String] {
        HostFiles.names(in: recipes).filter { HostFiles.exists(recipes.appending($0).appending("build.sh")) }
    }

    /// Where the image lies, or will lie, for today's recipe.
    ///
    /// - Throws: `invalidArgument` for an unknown name.
    func folder(_ name: String) async throws -> HostPath {
        guard names.contains(name) else {
            let hint = nearest(to: name, among: names).map { ", did you mean '\($0)'?" } ?? ""
            throw BackendError(
                .invalidArgument, "image", "unknown image '\(name)'\(hint) known: \(names.joined(separator: ", "))")
        }
        let guest = recipes.parent
        let shared =
            ["agent", "init", "wake.c"].map { guest.appending($0) } + [recipes.appending("common.sh")]
        let own = recipes.appending(name)
        let files = shared + HostFiles.names(in: own).map { own.appending($0) }
        let sums = try await Tool.check("sha256sum", files.filter { HostFiles.exists($0) }.map(\.string)).text
        // The names of the machine's folders must not count, only what is in the files.
        let contents = sums.split(separator: "\n").map { $0.prefix(64) }.joined(separator: "\n")
        return cache.appending("\(name)-\(fingerprint(contents))")
    }

    /// The image, if it is built.
    func find(_ name: String) async throws -> BuiltImage? {
        let folder = try await folder(name)
        return HostFiles.exists(folder.appending("image.json")) ? try BuiltImage(folder: folder) : nil
    }

    /// The image, built now when it is not yet.
    func built(_ name: String, talk: @escaping @Sendable (String) -> Void = { Terminal.talk($0) }) async throws
        -> BuiltImage
    {
        if let image = try await find(name) { return image }
        let folder = try await folder(name)
        try HostFiles.makeDirectories(cache)
        let lock = try await FileLock.waiting(for: cache.appending(".\(name).lock"), within: .seconds(900))
        defer { withExtendedLifetime(lock) {} }
        if let image = try await find(name) { return image }
        talk("image: building \(name)")
        let outcome = try await Tool.run(
            "/bin/sh", [recipes.appending(name).appending("build.sh").string, folder.string, cache.string],
            deadline: .seconds(900))
        guard outcome.exit == .exited(0) else {
            throw BackendError(
                .unavailable, "image.build",
                "image '\(name)' could not be built (\(outcome.exit)): \(lastLine(outcome.errors))",
                blame: .host, evidence: ["stderr": outcome.errors])
        }
        for stale in HostFiles.names(in: cache) where stale.hasPrefix(name + "-") && stale != folder.name {
            try? HostFiles.removeTree(cache.appending(stale))
        }
        return try BuiltImage(folder: folder)
    }

    /// Removes what is built of an image; true when there was something.
    func remove(_ name: String) async throws -> Bool {
        _ = try await folder(name)
        let built = HostFiles.names(in: cache).filter { isBuild($0, of: name) }
        for folder in built { try HostFiles.removeTree(cache.appending(folder)) }
        return !built.isEmpty
    }

    private func isBuild(_ folder: String, of name: String) -> Bool {
        folder.hasPrefix(name + "-") && folder.dropFirst(name.count + 1).allSatisfy { $0.isHexDigit }
    }

    private func lastLine(_ text: String) -> String {
        text.split(separator: "\n").last.map(String.init) ?? "it said nothing"
    }

    /// Enough to tell recipes of one user's cache apart.
    private func fingerprint(_ text: String) -> String {
        let digits = String(stableHash(text), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// An image on this host, as its `image.json` describes it.
struct BuiltImage: Sendable {
    /// What `image.json` says; file names are relative to the folder.
    struct Description: Codable, Sendable {
        var name: String
        var format: ImageFormat?
        var disk: String?
        var kernel: String?
        var initrd: String?
        var commandLine: String?
    }

    let folder: HostPath
    let description: Description

    /// Reads `image.json`.
    ///
    /// - Throws: `corrupt` when it is not what a build writes.
    init(folder: HostPath) throws {
        self.folder = folder
        let bytes = try HostFiles.read(folder.appending("image.json"))
        do {
            description = try JSONDecoder().decode(Description.self, from: Data(bytes))
        } catch {
            throw BackendError(
                .corrupt, "image", "\(folder)/image.json cannot be read; `anyvisor image build` makes it again",
                blame: .host)
        }
    }

    /// The base disk, nil for an image that has none.
    var disk: DiskImage? {
        description.disk.map { DiskImage(path: folder.appending($0), format: description.format ?? .raw) }
    }

    /// What the machine boots.
    var boot: MachineSpec.BootSource {
        guard let kernel = description.kernel else { return .disk }
        return .kernel(
            .init(
                kernel: folder.appending(kernel), initrd: description.initrd.map { folder.appending($0) },
                commandLine: description.commandLine ?? ""))
    }
}
