import Abstractions
import Host
import Synchronization

/// The reference fake of `DiskAccess`: a whole disk in memory, loaded from and committed to a small JSON file.
public final class MemoryDisk: DiskAccess {
    private struct State {
        var sessions: [ObjectIdentifier: MemorySession] = [:]
        var isClosed = false
    }
    private let fault: MemoryFault?
    private let state = Mutex(State())

    init(fault: MemoryFault?) { self.fault = fault }

    /// See `DiskAccess`.
    public func info() async throws -> DiskAccessInfo {
        DiskAccessInfo(
            name: "memory", version: "1", features: [.write, .hardLinks, .sparse, .ownership], formats: [.memory],
            fileSystems: ["memory"])
    }

    /// See `DiskAccess`.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        guard depth == .proof else { return [Finding("memory disk", .good, "needs nothing")] }
        let volume = MemoryImageFile.VolumeRecord(fileSystem: "memory", size: 1 << 20).with(
            MemoryTree(capacity: 1 << 20))
        let folder = try RunScope.makeProcessFolder("proof")
        defer { try? HostFiles.removeTree(folder) }
        let image = DiskImage(path: folder.appending("proof.json"), format: .memory)
        try MemoryImageFile(volumes: [volume]).write(image.path)
        let session = try await open(image, .readWrite)
        try await session.commit()
        try await session.close()
        return [Finding("memory disk", .good, "made, opened and committed one")]
    }

    /// See `DiskAccess`.
    public func probe(_ image: DiskImage) async throws -> Suitability {
        guard image.format == .memory else {
            return Suitability(score: 0, reason: "opens only memory disks, not \(image.format)")
        }
        do {
            let file = try await onThread("disk.probe") { _ in try MemoryImageFile.read(image.path) }
            return Suitability(score: 100, reason: "a memory disk with \(file.volumes.count) volumes")
        } catch {
            return Suitability(score: 0, reason: BackendError.wrapping(error, "disk.probe").message)
        }
    }

    /// See `DiskAccess`.
    public func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        guard !state.withLock({ $0.isClosed }) else {
            throw BackendError(.invalidState, "disk.open", "the backend is closed", backend: "memory")
        }
        guard image.format == .memory else {
            throw BackendError(
                .unsupported, "disk.open", "memory opens only memory disks, not \(image.format)", backend: "memory")
        }
        let fault = fault
        let session = try await onThread("disk.open") { _ in try MemorySession(image, mode, fault) }
        let isLate = state.withLock { state in
            if !state.isClosed { state.sessions[ObjectIdentifier(session)] = session }
            return state.isClosed
        }
        session.onClose { [weak self] in
            self?.state.withLock { _ = $0.sessions.removeValue(forKey: ObjectIdentifier(session)) }
        }
        if isLate { session.release() }
        return session
    }

    /// See `DiskAccess`.
    public func close() async {
        let open = state.withLock { state in
            state.isClosed = true
            return Array(state.sessions.values)
        }
        for session in open { session.release() }
    }
}
