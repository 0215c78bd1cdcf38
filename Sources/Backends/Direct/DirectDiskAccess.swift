import Abstractions
import BackendSupport
import Host
import Synchronization
import VirtualDisk

/// Reads and writes ext file systems inside raw and VDI images, in this process.
public final class DirectDiskAccess: DiskAccess {
    private struct State {
        var isClosed = false
        var sessions: [ObjectIdentifier: DirectSession] = [:]
    }
    private let state = Mutex(State())

    /// Touches nothing.
    public init() {}

    /// See `DiskAccess`.
    public func info() async throws -> DiskAccessInfo {
        DiskAccessInfo(
            name: "direct", version: DirectBackend.version, features: [.write, .hardLinks, .sparse, .ownership],
            formats: VirtualDisk.formats, readOnlyFormats: VirtualDisk.readOnlyFormats,
            fileSystems: ["ext2", "ext3", "ext4"])
    }

    /// See `DiskAccess`.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        let library = Finding("libext2fs", .good, DirectBackend.version)
        let findings = [library, VirtualDisk.foreignFinding()]
        return depth == .presence ? findings : findings + [await DirectProof.run(self)]
    }

    /// See `DiskAccess`.
    public func probe(_ image: DiskImage) async throws -> Suitability {
        do {
            let session = try await open(image, .readOnly)
            let volumes = try await session.volumes()
            try await session.close()
            let readable = volumes.filter { ["ext2", "ext3", "ext4"].contains($0.fileSystem) }
            guard let first = readable.first else {
                return Suitability(score: 0, reason: "no ext2, ext3 or ext4 file system on \(image.path)")
            }
            return Suitability(score: 90, reason: "\(first.fileSystem ?? "ext") on \(first.id), read in process")
        } catch {
            return Suitability(score: 0, reason: BackendError.wrapping(error, "disk.probe").message)
        }
    }

    /// See `DiskAccess`.
    public func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        guard !state.withLock({ $0.isClosed }) else {
            throw BackendError(.invalidState, "disk.open", "the backend is closed", backend: "direct")
        }
        let absolute = image.at(HostFiles.absolute(image.path))
        let session = try await DirectSession.open(absolute, mode) { [weak self] session in
            self?.state.withLock { $0.sessions[ObjectIdentifier(session)] = nil }
        }
        let isClosed = state.withLock { state in
            if !state.isClosed { state.sessions[ObjectIdentifier(session)] = session }
            return state.isClosed
        }
        if isClosed {
            try await session.close()
            throw BackendError(.invalidState, "disk.open", "the backend is closed", backend: "direct")
        }
        return session
    }

    /// See `DiskAccess`.
    public func close() async {
        let sessions = state.withLock { state in
            state.isClosed = true
            return Array(state.sessions.values)
        }
        for session in sessions { try? await session.close() }
    }
}
