import Abstractions
import Filters
import Host

/// The disk backends of a run as one that goes over to the next when one fails, and what each operation was done by.
struct DiskChain: Sendable {
    private let disk: FallbackDisk
    private let log: FallbackLog

    /// - Throws: `invalidArgument` for a name that nobody knows or an option that its backend does not take.
    init(
        _ preference: BackendPreference, _ registry: BackendRegistry, journal: Journal,
        reject: @escaping @Sendable (String, BackendError) -> Void
    ) throws {
        log = FallbackLog { reject($0.backend, $0.error) }
        let candidates = try registry.diskCandidates(try preference.names(.disk)) {
            preference.options[$0] ?? [:]
        }
        let staging = CopyStaging(
            announce: { try journal.append(.path($0)) }, remove: { try HostFiles.removeTree($0) })
        disk = FallbackDisk(candidates, log: log, staging: staging)
    }

    /// Runs `body` on the file system that fills the image, in a session of its own.
    ///
    /// - Throws: what `body` throws; the session is then closed without commit.
    func perform<Value: Sendable>(
        on image: DiskImage, _ mode: AccessMode,
        _ body: @Sendable (any GuestFilesystem, any DiskSession) async throws -> Value
    ) async throws -> (value: Value, backend: RunResult.BackendRecord) {
        let session = try await disk.open(image, mode)
        do {
            let value = try await body(try await session.filesystem(on: .whole), session)
            try await session.close()
            let worker = log.used.last ?? ""
            let info = try? await disk.info()
            return (value, .init(name: worker, version: info?.version ?? ""))
        } catch {
            // Shielded: the body may have ended because the caller was cancelled. The body's error wins.
            await Task { try? await session.close() }.value
            throw error
        }
    }

    /// Closes every backend.
    func close() async { await disk.close() }
}

extension BackendPreference {
    /// The names to try.
    ///
    /// - Throws: `invalidArgument` when there are none.
    func names(_ kind: BackendKind) throws -> [String] {
        guard !prefer.isEmpty else {
            throw BackendError(
                .invalidArgument, "plan", "no \(kind.rawValue) is chosen, name one in the recipe or in anyvisor.yaml")
        }
        return prefer
    }
}
