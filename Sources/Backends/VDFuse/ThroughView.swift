import Abstractions
import VirtualDisk

/// An image as people mount it: what is written goes through to it, and nothing takes it back.
///
/// ```
///   write … write … sync    at most 32 MiB: one commit, so a crash leaves all of it or none
///                  `-- more than that: committed, and what follows up to the next sync is written in place, as a disk does it
///   write …                 5 s without a sync: the same as a sync
///        `-- fails          the first failure is kept: what was not synced is lost, and no write or sync succeeds any more
/// ```
/// The format's own metadata changes by commits only, so the image is whole at any moment. One thread at a time.
final class ThroughView: ServedView {
    /// The kernel's own patience with what it has not written back (`dirty_writeback_centisecs`).
    static let patience: Duration = .seconds(5)

    let size: Int64
    let mode: AccessMode
    let volumes: [Volume]
    /// What is wrong with the partition table.
    let warning: String?
    private(set) var failure: BackendError?
    private(set) var syncDeadline: ContinuousClock.Instant?
    private var disk: VirtualDisk?
    private var transaction: DiskTransaction?
    private let stagedLimit: Int
    private var staged = 0
    private var isStreaming = false

    /// Opens the image.
    ///
    /// - Parameter stagedLimit: a transaction's memory, since a longer change would be written twice.
    /// - Throws: what `VirtualDisk.open` does. A damaged partition table is a warning: the disk shows, so that it can be repaired.
    init(_ image: DiskImage, _ mode: AccessMode, stagedLimit: Int = 32 << 20) throws {
        let disk = try VirtualDisk.open(image, mode)
        self.disk = disk
        self.mode = mode
        self.stagedLimit = stagedLimit
        size = disk.content.size
        do {
            volumes = try disk.content.volumes()
            warning = volumes.lazy.compactMap(\.warning).first
        } catch let error as BackendError where error.code == .corrupt {
            volumes = []
            warning = error.message
        }
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        if let transaction { return try transaction.read(at: offset, into: buffer) }
        try open().content.read(at: offset, into: buffer)
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try failing {
            let transaction = try transaction ?? open().begin()
            self.transaction = transaction
            if syncDeadline == nil { syncDeadline = .now + ThroughView.patience }
            guard !isStreaming else { return try transaction.writeFresh(at: offset, from: buffer) }
            try transaction.write(at: offset, from: buffer)
            staged += buffer.count
            guard staged >= stagedLimit else { return }
            try finish()
            isStreaming = true
        }
    }

    func sync() throws {
        isStreaming = false
        try failing { try finish() }
    }

    func commit() throws { try sync() }

    func objection(to volume: Volume) throws -> BackendError? { nil }

    func close() {
        transaction?.abort()
        transaction = nil
        disk = nil
    }

    private func open() throws -> VirtualDisk {
        guard let disk else { throw BackendError(.invalidState, "disk", "the image is closed") }
        return disk
    }

    private func finish() throws {
        staged = 0
        syncDeadline = nil
        guard let open = transaction else { return }
        transaction = nil
        try open.commit()
    }

    /// A range outside the disk is the client's mistake and changes nothing; any other error is final.
    private func failing(_ body: () throws -> Void) throws {
        if let failure { throw failure }
        do {
            try body()
        } catch {
            let known = BackendError.wrapping(error, "disk.write")
            if known.code != .invalidArgument { fail(known) }
            throw known
        }
    }

    private func fail(_ error: BackendError) {
        failure = error
        syncDeadline = nil
        transaction?.abort()
        transaction = nil
    }
}
