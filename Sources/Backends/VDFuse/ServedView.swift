import Abstractions
import VirtualDisk

/// The disk that the server's files show.
protocol ServedView: AnyObject {
    /// The disk's size in bytes.
    var size: Int64 { get }
    /// How the image is open.
    var mode: AccessMode { get }
    /// The disk's volumes when it was opened.
    var volumes: [Volume] { get }
    /// The first write that failed; it stays.
    var failure: BackendError? { get }
    /// When `sync` has to be called though nobody asks for it; nil when it need not.
    var syncDeadline: ContinuousClock.Instant? { get }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws
    /// What a client's fsync asks for.
    ///
    /// - Throws: the first failure.
    func sync() throws
    /// Makes everything durable, for a plugin's commit.
    func commit() throws
    /// Why a volume's file system must not be mounted; nil when it may.
    func objection(to volume: Volume) throws -> BackendError?
    /// Drops what is not committed and lets the image go.
    func close()
}

/// What is staged becomes durable with the plugin's commit and no sooner; until then a sync only tells what has failed.
extension StagedView: ServedView {
    var syncDeadline: ContinuousClock.Instant? { nil }
    func sync() throws { if let failure { throw failure } }
}
