import Abstractions
import Filters
import Host
import Synchronization

/// Copies files and trees into and out of a disk image that no machine has open; `anyvisor disk put` and `get` are these.
///
/// ```swift
/// let disk = DiskOperations("machine.vdi")
/// try await disk.upload("report.txt", to: "/root/report.txt")
/// ```
///
/// Each call opens the image with the first backend that can, goes over to the next when that one fails, and closes everything
/// again; calls at the same time are fine, but a second writer of an image gets `inUse`. The backends live in child processes.
/// Nothing else of the calling process changes: no environment variable, no signal handler, no working folder. A call that
/// throws or is cancelled has changed nothing and left nothing, but for a commit that was cut off where the image cannot tell whether
/// it happened: that error says so. What a killed process left goes with `anyvisor reap`, and the image is whole before that.
///
/// Errors are `BackendError`, or `CancellationError`. They name the options of `anyvisor disk`; the parameters here are the same.
public struct DiskOperations: Sendable {
    /// The backends and their order when none are named.
    public static var usualBackends: [String] { Catalogue.Preferences().disks }

    let name: ImageName
    let volume: VolumeID?
    let backends: [String]?
    let plugins: HostPath?
    private let state: HostPath?

    /// Names an image; nothing is looked at before the first call.
    ///
    /// - Parameters:
    ///   - image: the image's file; relative to the working folder of the process.
    ///   - format: told from the file's name and header when it is nil; a raw image with another name needs it.
    ///   - volume: `whole`, `p1`, `p2` …; needed when the disk has several file systems.
    ///   - layer: another snapshot layer of the image: a file, its name, or its uuid.
    ///   - snapshot: a snapshot inside a qcow2 image, which can only be read.
    ///   - parentFolders: more folders in which the parents of a snapshot layer are searched.
    ///   - forceStale: reads an image that is in use: what is read may be old, or half of a change. Uploads are refused.
    ///   - backends: names in the order to try; `usualBackends` when it is nil.
    ///   - plugins: the one folder whose plugins are taken. Without it they are found in `ANYVISOR_PLUGIN_PATH`, then beside the
    ///     running program, then beside the `anyvisor` in `PATH`.
    ///   - state: where the journal is; `anyvisor reap` looks in the usual place, or in `ANYVISOR_STATE`.
    public init(
        _ image: String, format: ImageFormat? = nil, volume: VolumeID? = nil, layer: String? = nil,
        snapshot: String? = nil, parentFolders: [String] = [], forceStale: Bool = false,
        backends: [String]? = nil, plugins: String? = nil, state: String? = nil
    ) {
        self.init(
            ImageName(
                image, format: format, layer: layer, snapshot: snapshot, parentFolders: parentFolders,
                forceStale: forceStale),
            volume: volume, backends: backends, plugins: plugins, state: state)
    }

    package init(
        _ name: ImageName, volume: VolumeID?, backends: [String]?, plugins: String? = nil, state: String? = nil
    ) {
        self.name = name
        self.volume = volume
        self.backends = backends
        self.plugins = plugins.map { HostFiles.absolute(HostPath($0)) }
        self.state = state.map { HostFiles.absolute(HostPath($0)) }
    }

    /// Copies a file or tree of this host into the image: all of it, durably, or nothing.
    ///
    /// - Parameters:
    ///   - host: a file or folder, which must stay as it is until the call returns.
    ///   - guest: its path inside the image; when it ends with a slash, the folder that then holds it.
    /// - Throws: `notFound` for a missing image, source or folder, `inUse` when somebody has the image open, `noSpace`, `corrupt`,
    ///   `permissionDenied`, `unavailable` when no backend could do it, with their errors as causes.
    @discardableResult
    public func upload(_ host: String, to guest: String, progress: ProgressSink = .none) async throws -> TransferReport
    {
        try await reported { try await put(host, to: guest, log: $0, progress: progress) }
    }

    /// Copies a file or tree out of the image; the image is opened for reading only.
    ///
    /// - Parameters:
    ///   - guest: a file or folder inside the image.
    ///   - host: where it goes; must not exist yet, or be a folder that then holds it.
    ///   - policy: `.untrusted` for an image whose content nobody trusts: regular files and folders only, within a quota.
    /// - Throws: `notFound` for a missing image or path, `alreadyExists`, `inUse` when somebody writes to the image, `corrupt`,
    ///   `permissionDenied`, `unavailable` when no backend could do it, with their errors as causes.
    @discardableResult
    public func download(
        _ guest: String, to host: String, policy: CopyPolicy = .faithful, progress: ProgressSink = .none
    ) async throws -> TransferReport {
        try await reported { try await get(guest, to: host, policy, log: $0, progress: progress) }
    }

    /// Writes the whole disk, as a machine sees it, to a new raw file of this host; what is zero becomes a hole. No backend takes part.
    ///
    /// - Returns: the disk's size in bytes, and why temporary files are still there, if any are.
    /// - Throws: `notFound`, `alreadyExists`, `inUse` when somebody writes to the image, `corrupt`, `noSpace`; the file is then not there.
    @discardableResult
    public func export(
        to host: String, progress: ProgressSink = .none
    ) async throws -> (size: Int64, leftover: BackendError?) {
        try await scoped { try await exportContent(to: host, progress: progress) }
    }

    private func reported(_ body: @Sendable (FallbackLog) async throws -> CopyReport) async throws -> TransferReport {
        let log = FallbackLog()
        let (copy, leftover) = try await scoped { try await body(log) }
        return TransferReport(
            backend: log.used.last ?? "", replaced: log.rejections, copy: copy, leftover: leftover)
    }

    private func scoped<Value: Sendable>(
        _ body: @Sendable () async throws -> Value
    ) async throws -> (Value, leftover: BackendError?) {
        let leftover = Mutex<BackendError?>(nil)
        let work = try WorkScope(in: state ?? HostEnvironment.state)
        let value = try await work.run(leftover: { error in leftover.withLock { $0 = error } }) { _ in try await body()
        }
        return (value, leftover.withLock { $0 })
    }
}
