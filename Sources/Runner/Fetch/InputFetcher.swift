import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Gets the Python inputs of a recipe into a folder, out of the cache when it has them. No fetched code runs on this host.
struct InputFetcher: Sendable {
    /// The cache of all users of these sets of wheels.
    var cache: HostPath
    /// A private folder.
    var work: HostPath
    /// The run's name, for names in the cache.
    var run: String
    var journal: Journal

    /// How long a set of inputs whose versions are not all pinned is good.
    private static let lifetime: Int64 = 24 * 3600

    private struct FetchRequest: Codable {
        var requirements: [String]
        var sources: [String]
        var python: GuestImage.Python
        var dest: String
        var stubs: String
    }

    private struct FetchAnswer: Codable {
        var files: [String]?
        var code: String?
        var message: String?
        var source_only: [String]?
    }

    /// The fetched files; empty when the recipe has no Python inputs.
    ///
    /// - Throws: `invalidArgument` for what the index does not have, `unavailable` with `backoff` when it cannot be reached.
    func fetch(_ inputs: [Input], for image: GuestImage, note: @Sendable (String) -> Void) async throws -> [HostPath] {
        var request = FetchRequest(
            requirements: [], sources: [], python: .init(version: "3", abi: "none", platforms: ["any"]), dest: "",
            stubs: "")
        for input in inputs {
            switch input {
            case .python(let text): request.requirements.append(text)
            case .source(let text): request.sources.append(text)
            case .file: break
            }
        }
        guard !request.requirements.isEmpty || !request.sources.isEmpty else { return [] }
        if let python = image.python {
            request.python = python
        } else if !request.requirements.isEmpty {
            throw BackendError(
                .invalidArgument, "fetch",
                "image '\(image.name)' has no Python for input '\(request.requirements[0])', choose another image")
        }
        let key = String(decoding: try JSONText.encode(request, pretty: false), as: UTF8.self)
        let stored = cache.appending("wheels").appending(Self.name(of: key))
        if !isFresh(stored, key) {
            // One at a time: a set that another run copies from must not be replaced by the same one.
            try HostFiles.makeDirectories(stored.parent)
            let lock = try await FileLock.waiting(
                for: stored.parent.appending(".\(stored.name).lock"), within: CallDeadline.remaining ?? .seconds(600))
            defer { withExtendedLifetime(lock) {} }
            if !isFresh(stored, key) {
                try await download(request, key, to: stored)
                return files(stored)
            }
        }
        note("inputs are in the cache")
        return files(stored)
    }

    private func files(_ stored: HostPath) -> [HostPath] {
        HostFiles.names(in: stored.appending("files")).map { stored.appending("files").appending($0) }
    }

    private func isFresh(_ stored: HostPath, _ key: String) -> Bool {
        var info = stat()
        let mark = stored.appending("request.json")
        guard stat(mark.string, &info) == 0, (try? HostFiles.readText(mark)) == key else { return false }
        return Int64(info.st_mtim.tv_sec) + Self.lifetime > WallClock.now / 1000
    }

    private func download(_ request: FetchRequest, _ key: String, to stored: HostPath) async throws {
        let parent = stored.parent
        let fresh = parent.appending(".\(run)")
        try journal.append(.path(fresh))
        defer { try? HostFiles.removeTree(fresh) }
        let stubs = work.appending("stubs")
        for folder in [fresh.appending("files"), stubs] { try HostFiles.makeDirectories(folder) }
        var request = request
        request.dest = fresh.appending("files").string
        request.stubs = stubs.string
        let program = work.appending("fetch.py")
        let question = work.appending("fetch.json")
        try HostFiles.write(Array(FetchProgram.text.utf8), to: program)
        try HostFiles.write(try JSONText.encode(request, pretty: false), to: question)
        let outcome = try await Tool.run(
            "python3", ["-B", program.string, question.string], folder: work,
            deadline: CallDeadline.remaining ?? .seconds(600))
        try Self.check(outcome)
        try HostFiles.write(Array(key.utf8), to: fresh.appending("request.json"))
        try HostFiles.removeTree(stored)
        guard rename(fresh.string, stored.string) == 0 else {
            throw hostError("fetch", "cannot keep the inputs in \(stored)")
        }
    }

    private static func check(_ outcome: Tool.Outcome) throws {
        guard outcome.exit == .exited(0),
            let answer = try? JSONDecoder().decode(FetchAnswer.self, from: Data(outcome.output))
        else {
            let last = outcome.errors.split(separator: "\n").last.map(String.init) ?? "it said nothing"
            throw BackendError(
                last.contains("No space left") ? .noSpace : .internal, "fetch",
                "the inputs cannot be fetched (\(outcome.exit)): \(last)", blame: .host,
                evidence: ["stderr": outcome.errors])
        }
        guard let message = answer.message else { return }
        switch answer.code {
        case "temporary":
            throw BackendError(.unavailable, "fetch", "\(message), try again later", blame: .host, retry: .backoff)
        case "noSpace": throw BackendError(.noSpace, "fetch", message)
        case "unavailable": throw BackendError(.unavailable, "fetch", message, blame: .host)
        case "corrupt": throw BackendError(.corrupt, "fetch", message, blame: .host)
        default: throw BackendError(.invalidArgument, "fetch", message)
        }
    }

    /// A name only, the stored request decides whether it is the right set.
    private static func name(of key: String) -> String { String(stableHash(key), radix: 16) }
}
