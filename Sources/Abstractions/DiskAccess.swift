/// Reads and writes files inside a disk image that no machine has open.
///
/// # Contract
/// ```
///   open(read-only | read-write) --> session --> volumes, filesystem(on:) --> files
///                                      |
///                                      |-- commit: all of it is durable, or none of it happened; the session goes on
///                                      '-- close: without commit nothing happened
/// ```
/// - A read-only session never changes the image, not one byte; it can run beside other readers.
/// - A read-write session holds the image alone: a second one, or one beside a machine, throws `inUse`.
/// - `commit` on a read-only session throws `invalidState`. After a commit that throws, the image is as before it.
/// - `close` is idempotent. File systems of a closed session throw `invalidState`.
/// - A process that dies at any moment leaves the image old or new, never between, once it is opened again.
/// - An image with a dirty journal, an error state or a damaged header is refused with `corrupt`, untouched.
/// - Paths from an image are never followed on the host.
/// - Every thrown error is a `BackendError` or `CancellationError`.
public protocol DiskAccess: Sendable {
    /// Formats, file systems and features.
    func info() async throws -> DiskAccessInfo
    /// What works here and what to do about the rest.
    func check(_ depth: CheckDepth) async throws -> [Finding]
    /// Whether it can open the image, how well, and why not; changes nothing, and does not throw for a bad image.
    func probe(_ image: DiskImage) async throws -> Suitability
    /// Opens an image.
    ///
    /// - Throws: `notFound`, `corrupt`, `inUse`, `permissionDenied`, `unsupported` for a format or file system it does not have.
    func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession
    /// Frees everything, open sessions too (without commit); idempotent.
    func close() async
}

/// An image that is open.
public protocol DiskSession: Sendable {
    /// Partitions and whole-disk file systems in the order of the table; empty volumes and swap included.
    func volumes() async throws -> [Volume]
    /// The file system on a volume.
    ///
    /// - Throws: `notFound` for a volume the disk does not have, `unsupported` for a file system it does not know.
    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem
    /// Makes all changes durable, or none.
    func commit() async throws
    /// Lets the image go; what was not committed has not happened.
    func close() async throws
}

/// A file system inside an image. All paths are the guest's; the last component of a path is never followed if it is a link.
public protocol GuestFilesystem: Sendable {
    /// What is at the path; a symbolic link is itself.
    ///
    /// - Throws: `notFound`.
    func stat(_ path: GuestPath) async throws -> FileStat
    /// A page of a folder, sorted by the names' bytes, starting behind `after`.
    ///
    /// - Throws: `notFound`, `invalidArgument` when it is not a folder.
    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage
    /// Up to `count` bytes (at most 512 KiB a call) of a regular file; fewer only at its end.
    ///
    /// - Throws: `notFound`, `invalidArgument` when it is not a regular file, or for a negative offset or count.
    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8]
    /// Copies a file or tree to a host path that does not exist yet.
    ///
    /// Under `.untrusted` what is refused goes into the answer, and the copy goes on. When it throws, what it made is removed.
    /// - Throws: `notFound`, `alreadyExists` when the host path exists, `quotaExceeded`, `noSpace`.
    func copyOut(_ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink) async throws
        -> CopyReport
    /// Changes to the file system; nil in a read-only session.
    var writable: (any WritableFilesystem)? { get }
    /// A host mount point; nil: the backend does not have it.
    var mount: (any MountFacet)? { get }
}

/// Changes to a file system, durable with the session's `commit`.
public protocol WritableFilesystem: Sendable {
    /// Copies a host file or tree to a guest path; modes, owners, times, links, hard links and holes are kept.
    ///
    /// A file replaces a file; a tree merges into a folder. The parent folder must exist. Sockets and pipes are skipped and listed.
    /// - Throws: `notFound` (host path or guest parent), `invalidArgument` when a folder and a file would replace each other, `noSpace`.
    func copyIn(_ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink) async throws
        -> CopyReport
    /// Makes a folder (mode 0755); with `parents`, also those above it, and it may exist.
    ///
    /// - Throws: `alreadyExists`, `notFound` for a missing parent.
    func makeDirectory(_ path: GuestPath, parents: Bool) async throws
    /// Removes a file, link or folder; a folder that is not empty only when `recursive`.
    ///
    /// - Throws: `notFound`, `invalidArgument` for a full folder or the root.
    func remove(_ path: GuestPath, recursive: Bool) async throws
    /// Renames; an existing file at the new path is replaced, an existing folder is `alreadyExists`.
    ///
    /// - Throws: `notFound`, `alreadyExists`, `invalidArgument` when a folder would move into itself.
    func rename(_ path: GuestPath, to newPath: GuestPath) async throws
    /// Makes a symbolic link with this text.
    ///
    /// - Throws: `alreadyExists`, `notFound` for a missing parent.
    func symlink(_ path: GuestPath, target: String) async throws
    /// Changes mode, owner or times; fields that are nil stay.
    ///
    /// - Throws: `notFound`.
    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws
}

/// A host mount point of a guest's file system.
public protocol MountFacet: Sendable {
    /// The folder where it is mounted while the session is open.
    func mountPoint() async throws -> HostPath
}
