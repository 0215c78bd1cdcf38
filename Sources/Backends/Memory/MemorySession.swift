import Abstractions
import Host
import Synchronization

/// An open `memory` disk. Readers see the newest tree at once; writers change a copy and publish it whole, one at a time.
final class MemorySession: DiskSession {
    private struct State {
        var file: MemoryImageFile
        var trees: [VolumeID: MemoryTree]
        /// What the change published last has replaced; only for a fault.
        var previous: [VolumeID: MemoryTree]?
        var claim: ImageClaim?
        var isClosed = false
        var atClose: (@Sendable () -> Void)?
    }
    let fault: MemoryFault?
    let mode: AccessMode
    private let image: DiskImage
    private let state: Mutex<State>
    private let writer = Mutex(())

    /// Loads the image; blocks on the host's files.
    init(_ image: DiskImage, _ mode: AccessMode, _ fault: MemoryFault?) throws {
        guard HostFiles.exists(image.path) else {
            throw BackendError(
                .notFound, "disk.open", "image \(image.path) does not exist", backend: "memory", blame: .caller)
        }
        self.image = image
        self.mode = mode
        self.fault = fault
        var claim: ImageClaim?
        if fault != .secondWriterAllowed {
            if mode == .readWrite { claim = try ImageClaim(image) } else { try ImageClaim.checkFree(image) }
        }
        if mode == .readWrite, fault == .damagedHeaderOverwritten, (try? MemoryImageFile.read(image.path)) == nil {
            try MemoryImageFile(volumes: []).write(image.path)
        }
        let file = try MemoryImageFile.read(image.path, allowDirty: fault == .dirtyJournalOpened)
        var trees: [VolumeID: MemoryTree] = [:]
        for (index, volume) in file.volumes.enumerated() where volume.fileSystem == "memory" {
            trees[MemorySession.identifier(index, of: file)] = try volume.tree(image.path)
        }
        state = Mutex(State(file: file, trees: trees, claim: claim))
    }

    private static func identifier(_ index: Int, of file: MemoryImageFile) -> VolumeID {
        file.volumes.count == 1 ? .whole : .partition(index + 1)
    }

    /// Called once when the session ends.
    func onClose(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.atClose = body } }

    // MARK: - DiskSession

    func volumes() async throws -> [Volume] {
        try state.withLock { state in
            try checkOpen(state, "session.volumes")
            var offset: Int64 = 0
            return state.file.volumes.enumerated().map { index, volume in
                defer { offset += volume.size }
                return Volume(
                    id: MemorySession.identifier(index, of: state.file), offset: ByteCount(offset),
                    size: ByteCount(volume.size), fileSystem: volume.fileSystem, label: volume.label)
            }
        }
    }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        let known = try await volumes()
        guard let found = known.first(where: { $0.id == volume }) else {
            throw BackendError(
                .notFound, "session.filesystem",
                "\(image.path) has no volume '\(volume)', it has \(known.map(\.id.rawValue).joined(separator: ", "))",
                blame: .caller)
        }
        guard found.fileSystem == "memory" else {
            throw BackendError(
                .unsupported, "session.filesystem",
                "volume '\(volume)' has \(found.fileSystem ?? "no file system"), memory reads only its own")
        }
        return MemoryFilesystem(session: self, volume: volume)
    }

    func commit() async throws {
        try await onThread("session.commit") { [self] _ in
            guard mode == .readWrite else {
                throw BackendError(.invalidState, "session.commit", "\(image.path) is open read-only")
            }
            try writer.withLock { _ in try save() }
            if fault == .commitEndsSession { release() }
        }
    }

    func close() async throws {
        if fault == .closeTwiceThrows { try state.withLock { try checkOpen($0, "session.close") } }
        if fault == .closeCommits, mode == .readWrite {
            try? await onThread("session.close") { [self] _ in try writer.withLock { _ in try save() } }
        }
        release()
    }

    /// Lets the image go without a commit; idempotent.
    func release() {
        let (claim, atClose) = state.withLock { state in
            defer {
                state.claim = nil
                state.atClose = nil
                state.isClosed = true
            }
            return (state.claim, state.atClose)
        }
        withExtendedLifetime(claim) {}
        atClose?()
    }

    private func save() throws {
        let file = try state.withLock { state in
            try checkOpen(state, "session.commit")
            let trees = fault == .commitLosesLastWrite ? state.previous ?? state.trees : state.trees
            for (index, volume) in state.file.volumes.enumerated() {
                guard let tree = trees[MemorySession.identifier(index, of: state.file)] else { continue }
                state.file.volumes[index] = volume.with(tree)
            }
            return state.file
        }
        try file.write(image.path)
    }

    // MARK: - For its file systems

    /// The tree now, as a value.
    ///
    /// - Throws: `invalidState` when the session is closed.
    func tree(_ volume: VolumeID, _ operation: String) throws -> MemoryTree {
        try state.withLock { state in
            if fault != .closedSessionStillWrites { try checkOpen(state, operation) }
            return state.trees[volume] ?? MemoryTree(capacity: 0)
        }
    }

    /// Changes the tree whole or, when `body` throws, not at all. Blocks while another change is under way.
    func change<Value>(
        _ volume: VolumeID, _ operation: String, _ body: (inout MemoryTree) throws -> Value
    ) throws -> Value {
        try writer.withLock { _ in
            var tree = try tree(volume, operation)
            let value = try body(&tree)
            if fault != .fullDiskSilent { try tree.checkCapacity(operation) }
            state.withLock { state in
                state.previous = state.trees
                state.trees[volume] = tree
            }
            return value
        }
    }

    private func checkOpen(_ state: borrowing State, _ operation: String) throws {
        guard !state.isClosed else {
            throw BackendError(.invalidState, operation, "the session of \(image.path) is closed", retry: .reopen)
        }
    }
}
