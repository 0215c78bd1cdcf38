import Abstractions
import BackendSupport
import Synchronization

/// An image as a tool of others sees it: it reads and writes a plain disk, and nothing of it happens before `commit`.
///
/// ```
///   write … write … commit   durable, the view goes on with the next transaction
///        `-- fails           the first failure is kept: later successes cannot hide it, and no commit passes any more
///   read that fails          the same, since a tool may go on with zeros: fuse2fs does
/// ```
/// Calls block and may come from any thread.
public final class StagedView: Sendable {
    /// The disk's size in bytes.
    public let size: Int64
    /// How the image is open.
    public let mode: AccessMode
    /// The disk's volumes when it was opened.
    public let volumes: [Volume]
    private let path: HostPath
    private let state: Mutex<State>

    private struct State {
        var disk: VirtualDisk?
        var transaction: DiskTransaction?
        var failure: BackendError?

        /// Keeps the first failure; a range outside the disk is the tool's mistake and changes nothing.
        mutating func note(_ error: any Error, _ operation: String) -> BackendError {
            let known = BackendError.wrapping(error, operation)
            if known.code != .invalidArgument, failure == nil { failure = known }
            return known
        }
    }

    /// Opens the image.
    ///
    /// - Throws: what `VirtualDisk.open` and `volumes` do.
    public init(_ image: DiskImage, _ mode: AccessMode) throws {
        let disk = try VirtualDisk.open(image, mode)
        self.mode = mode
        path = image.path
        size = disk.content.size
        volumes = try disk.volumes()
        state = Mutex(State(disk: disk))
    }

    /// The first read or write that failed, or the commit that did.
    public var failure: BackendError? { state.withLock { $0.failure } }

    /// Fills the buffer with the bytes from `offset` on, staged ones included.
    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        do {
            try readStaged(at: offset, into: buffer)
        } catch {
            throw state.withLock { $0.note(error, "disk.read") }
        }
    }

    private func readStaged(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        // A staged read is under the lock, so that a commit on another thread does not end the transaction in between.
        let content: (any BlockDevice)? = try state.withLock { state in
            if let transaction = state.transaction {
                try transaction.read(at: offset, into: buffer)
                return nil
            }
            guard let disk = state.disk else { throw isClosed }
            return disk.content
        }
        try content?.read(at: offset, into: buffer)
    }

    /// Stages the buffer's bytes from `offset` on.
    ///
    /// - Throws: `noSpace`, `invalidState` on a read-only view, the first failure again.
    public func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            let transaction: DiskTransaction
            if let open = state.transaction {
                transaction = open
            } else {
                guard let disk = state.disk else { throw isClosed }
                transaction = try disk.begin()
                state.transaction = transaction
            }
            do {
                try transaction.write(at: offset, from: buffer)
            } catch {
                throw state.note(error, "disk.write")
            }
        }
    }

    /// Makes everything durable.
    ///
    /// - Throws: the first failure, `corrupt` when the tool has left a file system that must not be opened; nothing has happened then.
    public func commit() throws {
        for volume in volumes {
            if let objection = try objection(to: volume) { throw objection }
        }
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            guard let transaction = state.transaction else { return }
            state.transaction = nil
            do {
                try transaction.commit()
            } catch {
                state.failure = BackendError.wrapping(error, "disk.commit")
                throw error
            }
        }
    }

    /// Drops what is staged and lets the image go; every later call throws `invalidState`.
    public func close() {
        state.withLock { state in
            state.transaction?.abort()
            state.transaction = nil
            state.disk = nil
        }
    }

    private var isClosed: BackendError { BackendError(.invalidState, "disk", "the view of \(path) is closed") }

    /// Why the file system on a volume must not be opened as it is now; nil when it may be, or is none that is known here.
    public func objection(to volume: Volume) throws -> BackendError? {
        guard volume.fileSystem?.hasPrefix("ext") == true, volume.size.bytes >= 2048 else { return nil }
        var bytes = [UInt8](repeating: 0, count: ExtSuperblock.length)
        return try bytes.withUnsafeMutableBytes { buffer in
            try read(at: volume.offset.bytes + ExtSuperblock.offset, into: buffer)
            guard let superblock = ExtSuperblock(UnsafeRawBufferPointer(buffer)) else {
                return BackendError(.corrupt, "disk.filesystem", "the file system on \(volume.id) has no superblock")
            }
            return superblock.objection("volume \(volume.id) of \(path)", volumeSize: volume.size.bytes)
        }
    }
}
