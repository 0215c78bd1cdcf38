import Abstractions
import Host

/// Starts a plugin when it is needed and again when it has died, at most three times a minute.
///
/// Sessions and machines of a dead process are not replayed: their calls fail with `crashed`, to be opened again.
actor PluginHost {
    nonisolated let name: String
    nonisolated let kind: BackendKind
    private let program: HostPath
    private let arguments: [String]
    private let options: [String: String]
    private var current: Task<PluginProcess, any Error>?
    private var starts: [ContinuousClock.Instant] = []
    private var isClosed = false

    init(_ manifest: PluginManifest, program: HostPath, options: [String: String]) {
        name = manifest.name
        kind = manifest.kind
        self.program = program
        arguments = manifest.arguments
        self.options = options
    }

    /// The living process, started now when there is none.
    ///
    /// - Throws: `unavailable` when it cannot be started or died too often; what its `initialize` says.
    func process() async throws -> PluginProcess {
        if isClosed { throw BackendError(.invalidState, "plugin", "backend '\(name)' is closed", backend: name) }
        if let current {
            let process = try await current.value
            if !process.isDead { return process }
            if self.current == current { self.current = nil }
            return try await self.process()
        }
        starts.removeAll { $0 < .now - .seconds(60) }
        guard starts.count < 3 else {
            throw BackendError(
                .unavailable, "plugin", "plugin '\(name)' died three times within a minute", backend: name)
        }
        starts.append(.now)
        let start = Task { try await launch() }
        current = start
        do {
            return try await start.value
        } catch {
            if current == start { current = nil }
            throw error
        }
    }

    private func launch() async throws -> PluginProcess {
        let process = try PluginProcess(PluginLaunch(name: name, program: program, arguments: arguments))
        process.begin()
        do {
            let handshake = try await process.handshake(within: .seconds(10))
            guard handshake.kind == kind else {
                throw BackendError(
                    .protocolViolation, "handshake",
                    "plugin '\(name)' serves a \(handshake.kind.rawValue), its manifest says \(kind.rawValue)",
                    backend: name)
            }
            let patience = Patience.long.under(CallDeadline.current)
            let _: Wire.Empty = try await process.call(
                "initialize", InitializeParameters(options: options, deadlineMs: patience.limit?.milliseconds), patience
            )
            return process
        } catch {
            let known = BackendError.wrapping(error, "plugin.start")
            await process.kill(known)
            throw known.named(name)
        }
    }

    /// Ends the process; later calls throw `invalidState`.
    func close() async {
        isClosed = true
        guard let current, let process = try? await current.value else { return }
        await process.close()
    }
}

/// A process and the handle of an object in it.
///
/// The plugin hears when the last proxy of the object is gone.
final class RemoteObject: Sendable {
    let process: PluginProcess
    let handle: String

    /// What the object lives in: a file system's session must not be released before it.
    private let parent: RemoteObject?

    init(process: PluginProcess, handle: String, parent: RemoteObject? = nil) {
        self.process = process
        self.handle = handle
        self.parent = parent
    }

    deinit { process.release(handle) }

    func call<Parameters: Codable & Sendable, Result: Codable & Sendable>(
        _ method: String, _ patience: Patience, progress: ProgressSink = .none,
        as type: Result.Type = Result.self, _ parameters: (String, Int64?) -> Parameters
    ) async throws -> Result {
        let patience = patience.under(CallDeadline.current)
        return try await process.call(
            method, parameters(handle, patience.limit?.milliseconds), patience, progress: progress)
    }

    /// A call whose only parameter is the handle and whose answer is empty.
    func call(_ method: String, _ patience: Patience) async throws {
        let _: Wire.Empty = try await call(method, patience) { HandleParameters(handle: $0, deadlineMs: $1) }
    }
}
