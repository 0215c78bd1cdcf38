import Abstractions

/// A file system of a session that can go over to the next backend.
struct FallbackFilesystem: GuestFilesystem {
    let session: FallbackSession
    let volume: VolumeID
    let hasMount: Bool

    func stat(_ path: GuestPath) async throws -> FileStat {
        try await perform("filesystem.stat") { try await $0.stat(path) }
    }

    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage {
        try await perform("filesystem.list") { try await $0.list(path, after: after) }
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        try await perform("filesystem.read") { try await $0.read(path, offset: offset, count: count) }
    }

    func copyOut(_ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink) async throws
        -> CopyReport
    {
        let staging = session.staging
        let progress = progress.forwardOnly
        return try await perform("filesystem.copyOut") { filesystem in
            let copy = try StagedCopy(host, staging)
            do {
                let report = try await filesystem.copyOut(path, to: copy.place, policy: policy, progress: progress)
                try copy.finish()
                return report
            } catch {
                do { try copy.discard() } catch let leftover {
                    throw BackendError.wrapping(error, "filesystem.copyOut").caused(
                        by: BackendError.wrapping(leftover, "filesystem.copyOut"))
                }
                throw error
            }
        }
    }

    var writable: (any WritableFilesystem)? {
        session.mode == .readWrite ? FallbackWritable(session: session, volume: volume) : nil
    }

    var mount: (any MountFacet)? { hasMount ? FallbackMount(filesystem: self) : nil }

    fileprivate func perform<Value: Sendable>(
        _ operation: String, _ body: @Sendable (any GuestFilesystem) async throws -> Value
    ) async throws -> Value {
        let volume = volume
        return try await session.perform(operation) { try await body(try await $0.filesystem(volume)) }
    }
}

private struct FallbackMount: MountFacet {
    let filesystem: FallbackFilesystem

    func mountPoint() async throws -> HostPath {
        try await filesystem.perform("filesystem.mountPoint") { filesystem in
            guard let mount = filesystem.mount else {
                throw BackendError(.unsupported, "filesystem.mountPoint", "this backend has no mount point")
            }
            return try await mount.mountPoint()
        }
    }
}

private struct FallbackWritable: WritableFilesystem {
    let session: FallbackSession
    let volume: VolumeID

    func copyIn(_ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink) async throws
        -> CopyReport
    {
        try await make(.copyIn(host, path, options), progress: progress.forwardOnly)
    }

    func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
        _ = try await make(.makeDirectory(path, parents: parents))
    }

    func remove(_ path: GuestPath, recursive: Bool) async throws {
        _ = try await make(.remove(path, recursive: recursive))
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) async throws { _ = try await make(.rename(path, newPath)) }

    func symlink(_ path: GuestPath, target: String) async throws { _ = try await make(.symlink(path, target: target)) }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {
        _ = try await make(.setMetadata(path, change))
    }

    private func make(_ action: Change.Action, progress: ProgressSink = .none) async throws -> CopyReport {
        try await session.make(Change(volume: volume, action: action), progress: progress)
    }
}
