import Abstractions
import BackendSupport
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// What a session has open: the server and the mounted volumes. Blocks; only the session's worker enters it.
final class SessionCore: @unchecked Sendable {
    // Confined to the worker's thread, but for `processes`, which has a lock.
    let mode: AccessMode
    private let image: DiskImage
    private let wish: String?
    private let program: HostPath
    private let folder: HostPath
    private var server: FuseServerConnection?
    private var mounted: [VolumeID: MountedVolume] = [:]
    /// What may be killed from any thread, to free the one that waits for it.
    let processes = Mutex<[TetheredProcess]>([])

    init(_ image: DiskImage, _ mode: AccessMode, mounter wish: String?, program: HostPath, folder: HostPath) {
        self.image = image
        self.mode = mode
        self.wish = wish
        self.program = program
        self.folder = folder
    }

    func start() throws {
        let disk = folder.appending("disk")
        try HostFiles.makeDirectories(disk, mode: 0o700)
        try RunScope.current?.journal.append(.process("vdfuse server"))
        server = try FuseServerConnection(program: program, image, mode, folder: disk) { process in
            processes.withLock { $0.append(process) }
        }
    }

    func volumes() throws -> [Volume] { try running().files.compactMap(\.volume) }

    /// Looks whether the volume has a file system that may be opened, and mounts it.
    func prepare(_ volume: VolumeID) throws { _ = try mountedVolume(volume) }

    /// The files of a volume.
    func tree(_ volume: VolumeID) throws -> MountedTree { try mountedVolume(volume).tree }

    func mountPoint(_ volume: VolumeID) throws -> HostPath { try mountedVolume(volume).point }

    func commit() throws {
        guard mode == .readWrite else {
            throw BackendError(.invalidState, "disk.commit", "the session is read-only")
        }
        let server = try running()
        try unmountVolumes()
        try server.checkHealth()
        try server.commit()
    }

    func close() {
        try? unmountVolumes()
        server?.end()
        server = nil
    }

    /// Kills what the worker may wait for; for any thread.
    func killAll() { processes.withLock { $0 }.forEach { $0.kill() } }

    /// Blocks until what was killed has ended, and with it holds the image no more; for any thread.
    func awaitEnds(within limit: Duration) {
        let end = ContinuousClock.now + limit
        for process in processes.withLock({ $0 }) { _ = process.waitForEnd(end - .now) }
    }

    /// Makes sure that what was read and written is true. The programs between may hide it: fuse2fs goes on with zeros when it
    /// can no longer read.
    ///
    /// - Throws: the first failure in the server, `crashed`, `protocolViolation`.
    func checkHealth() throws {
        if let death { throw death }
        try server?.checkHealth()
    }

    /// The first of the processes that died, for any thread.
    private var death: BackendError? { processes.withLock { $0 }.lazy.compactMap(\.death).first }

    /// The error behind an error: a server that died, or the first read or write that failed in it.
    func explained(_ error: any Error) -> any Error {
        // Before there is a server to ask, the error is what it said before it ended.
        guard server != nil, let known = error as? BackendError, known.code != .crashed,
            known.code != .protocolViolation
        else { return error }
        let number = known.native.map { $0.domain == "errno" ? Int32($0.code) : 0 } ?? 0
        let isBroken =
            [EIO, ENOTCONN, ECONNABORTED, ENODEV, ESHUTDOWN, EUCLEAN].contains(number)
            || (number == EROFS && mode == .readWrite)
        // The kernel's error may come before the exit status of whoever caused it.
        if isBroken { _ = eventually(within: .milliseconds(300)) { death != nil } }
        do {
            try checkHealth()
        } catch {
            let cause = BackendError.wrapping(error, known.operation)
            return cause == known ? known : cause.caused(by: known)
        }
        guard isBroken else { return error }
        return BackendError(
            .corrupt, known.operation,
            "a file system of \(image.path) is damaged; run its checker on the disk's content",
            native: known.native, causes: [known])
    }

    // MARK: - Parts

    private func running() throws -> FuseServerConnection {
        guard let server else { throw BackendError(.invalidState, "disk", "the session of \(image.path) is closed") }
        return server
    }

    private func mountedVolume(_ volume: VolumeID) throws -> MountedVolume {
        let server = try running()
        if let open = mounted[volume] { return open }
        guard let file = server.files.first(where: { $0.volume?.id == volume }), let found = file.volume else {
            throw BackendError(.notFound, "disk.filesystem", "\(image.path) has no volume \(volume)")
        }
        let type = try mountable(found)
        if let objection = file.objection { throw objection }
        let point = folder.appending(volume.rawValue)
        try HostFiles.makeDirectories(point, mode: 0o700)
        let open = try MountedVolume(
            file, in: server.folder, on: point, mode, by: try Mounter.choose(wish, for: type), program: program
        ) { process in processes.withLock { $0.append(process) } }
        mounted[volume] = open
        return open
    }

    /// The volume's file system.
    ///
    /// - Throws: `unsupported` for one that nobody knows, or that nobody writes to.
    private func mountable(_ volume: Volume) throws -> String {
        let known = Mounter.fileSystems
        guard let type = volume.fileSystem, known.contains(type) else {
            throw BackendError(
                .unsupported, "disk.filesystem",
                "volume \(volume.id) of \(image.path) has \(volume.fileSystem ?? "no known file system"), not one of "
                    + known.joined(separator: ", "))
        }
        guard mode == .readOnly || !Mounter.readOnlyFileSystems.contains(type) else {
            throw BackendError(
                .unsupported, "disk.filesystem",
                "volume \(volume.id) of \(image.path) is \(type), which can only be read", blame: .caller)
        }
        return type
    }

    private func unmountVolumes() throws {
        for (volume, open) in mounted {
            try open.unmount()
            mounted[volume] = nil
            // Its FUSE program has ended well: its exit is no death any more.
            processes.withLock { $0.removeAll { $0.exit == .exited(0) } }
        }
    }
}
