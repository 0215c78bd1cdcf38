import Abstractions

extension DiskAccess {
    /// This backend with an interceptor around every operation, those of its sessions and file systems too.
    public func intercepted(by interceptor: some Interceptor) -> any DiskAccess {
        InterceptedDisk(disk: self, interceptor: interceptor)
    }
}

struct InterceptedDisk<Around: Interceptor>: DiskAccess {
    let disk: any DiskAccess
    let interceptor: Around

    func info() async throws -> DiskAccessInfo {
        try await interceptor.around("disk.info") { [disk] in try await disk.info() }
    }

    func check(_ depth: CheckDepth) async throws -> [Finding] {
        try await interceptor.around("disk.check") { [disk] in try await disk.check(depth) }
    }

    func probe(_ image: DiskImage) async throws -> Suitability {
        try await interceptor.around("disk.probe") { [disk] in try await disk.probe(image) }
    }

    func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        let session = try await interceptor.around("disk.open") { [disk] in try await disk.open(image, mode) }
        return InterceptedSession(session: session, interceptor: interceptor)
    }

    func close() async { try? await interceptor.around("disk.close") { [disk] in await disk.close() } }
}

private struct InterceptedSession<Around: Interceptor>: DiskSession {
    let session: any DiskSession
    let interceptor: Around

    func volumes() async throws -> [Volume] {
        try await interceptor.around("session.volumes") { [session] in try await session.volumes() }
    }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        let filesystem = try await interceptor.around("session.filesystem") { [session] in
            try await session.filesystem(on: volume)
        }
        return InterceptedFilesystem(filesystem: filesystem, interceptor: interceptor)
    }

    func commit() async throws {
        try await interceptor.around("session.commit") { [session] in try await session.commit() }
    }

    func close() async throws {
        try await interceptor.around("session.close") { [session] in try await session.close() }
    }
}

private struct InterceptedFilesystem<Around: Interceptor>: GuestFilesystem {
    let filesystem: any GuestFilesystem
    let interceptor: Around

    func stat(_ path: GuestPath) async throws -> FileStat {
        try await interceptor.around("filesystem.stat") { [filesystem] in try await filesystem.stat(path) }
    }

    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage {
        try await interceptor.around("filesystem.list") { [filesystem] in
            try await filesystem.list(path, after: after)
        }
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        try await interceptor.around("filesystem.read") { [filesystem] in
            try await filesystem.read(path, offset: offset, count: count)
        }
    }

    func copyOut(_ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink) async throws
        -> CopyReport
    {
        try await interceptor.around("filesystem.copyOut") { [filesystem] in
            try await filesystem.copyOut(path, to: host, policy: policy, progress: progress)
        }
    }

    var writable: (any WritableFilesystem)? {
        filesystem.writable.map { InterceptedWritable(writable: $0, interceptor: interceptor) }
    }

    var mount: (any MountFacet)? { filesystem.mount.map { InterceptedMount(mount: $0, interceptor: interceptor) } }
}

private struct InterceptedMount<Around: Interceptor>: MountFacet {
    let mount: any MountFacet
    let interceptor: Around

    func mountPoint() async throws -> HostPath {
        try await interceptor.around("filesystem.mountPoint") { [mount] in try await mount.mountPoint() }
    }
}

private struct InterceptedWritable<Around: Interceptor>: WritableFilesystem {
    let writable: any WritableFilesystem
    let interceptor: Around

    func copyIn(_ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink) async throws
        -> CopyReport
    {
        try await interceptor.around("writable.copyIn") { [writable] in
            try await writable.copyIn(host, to: path, options: options, progress: progress)
        }
    }

    func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
        try await interceptor.around("writable.makeDirectory") { [writable] in
            try await writable.makeDirectory(path, parents: parents)
        }
    }

    func remove(_ path: GuestPath, recursive: Bool) async throws {
        try await interceptor.around("writable.remove") { [writable] in
            try await writable.remove(path, recursive: recursive)
        }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) async throws {
        try await interceptor.around("writable.rename") { [writable] in try await writable.rename(path, to: newPath) }
    }

    func symlink(_ path: GuestPath, target: String) async throws {
        try await interceptor.around("writable.symlink") { [writable] in
            try await writable.symlink(path, target: target)
        }
    }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {
        try await interceptor.around("writable.setMetadata") { [writable] in
            try await writable.setMetadata(path, change)
        }
    }
}
