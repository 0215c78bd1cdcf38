import Abstractions

/// A disk backend in another process.
public struct RemoteDiskAccess: DiskAccess {
    private let host: PluginHost

    init(_ host: PluginHost) { self.host = host }

    private func call<Parameters: Codable & Sendable, Result: Codable & Sendable>(
        _ method: String, _ patience: Patience, as type: Result.Type = Result.self,
        _ parameters: (Int64?) -> Parameters
    ) async throws -> (Result, PluginProcess) {
        let process = try await host.process()
        let patience = patience.under(CallDeadline.current)
        return (try await process.call(method, parameters(patience.limit?.milliseconds), patience), process)
    }

    /// See `DiskAccess`.
    public func info() async throws -> DiskAccessInfo {
        try await call("disk.info", .short) { HandleParameters(handle: "", deadlineMs: $0) }.0
    }

    /// See `DiskAccess`.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        try await call("disk.check", .long, as: Value<[Finding]>.self) {
            CheckParameters(depth: depth, deadlineMs: $0)
        }.0.value
    }

    /// See `DiskAccess`.
    public func probe(_ image: DiskImage) async throws -> Suitability {
        try await call("disk.probe", .short) { OpenParameters(image: image, mode: nil, deadlineMs: $0) }.0
    }

    /// See `DiskAccess`.
    public func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        let (session, process) = try await call("disk.open", .long, as: HandleParameters.self) {
            OpenParameters(image: image, mode: mode, deadlineMs: $0)
        }
        return RemoteSession(object: RemoteObject(process: process, handle: session.handle))
    }

    /// See `DiskAccess`.
    public func close() async { await host.close() }
}

struct RemoteSession: DiskSession {
    let object: RemoteObject

    func volumes() async throws -> [Volume] {
        let answer: Value<[Volume]> = try await object.call("session.volumes", .long) {
            HandleParameters(handle: $0, deadlineMs: $1)
        }
        return answer.value
    }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        let answer: FilesystemHandle = try await object.call("session.filesystem", .long) {
            VolumeParameters(handle: $0, volume: volume, deadlineMs: $1)
        }
        return RemoteFilesystem(
            object: RemoteObject(process: object.process, handle: answer.handle, parent: object),
            facets: Set(answer.facets))
    }

    func commit() async throws { try await object.call("session.commit", .long) }
    func close() async throws { try await object.call("session.close", .long) }
}

struct RemoteFilesystem: GuestFilesystem, MountFacet {
    let object: RemoteObject
    let facets: Set<Feature>

    func stat(_ path: GuestPath) async throws -> FileStat {
        try await object.call("filesystem.stat", .short) { PathParameters(handle: $0, path: path, deadlineMs: $1) }
    }

    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage {
        try await object.call("filesystem.list", .short) {
            PathParameters(handle: $0, path: path, after: after, deadlineMs: $1)
        }
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        let answer: Value<String> = try await object.call("filesystem.read", .short) {
            ReadParameters(
                handle: $0, path: path, offset: offset, count: min(count, Wire.readLimit), deadlineMs: $1)
        }
        return try Base64.decode(answer.value)
    }

    func copyOut(_ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink) async throws
        -> CopyReport
    {
        try await object.call("filesystem.copyOut", .transfer, progress: progress) {
            CopyOutParameters(handle: $0, path: path, host: host, policy: policy, deadlineMs: $1)
        }
    }

    var writable: (any WritableFilesystem)? {
        facets.contains(.write) ? RemoteWritable(object: object) : nil
    }

    var mount: (any MountFacet)? { facets.contains(.mount) ? self : nil }

    func mountPoint() async throws -> HostPath {
        let answer: Value<HostPath> = try await object.call("filesystem.mountPoint", .long) {
            HandleParameters(handle: $0, deadlineMs: $1)
        }
        return answer.value
    }
}

struct RemoteWritable: WritableFilesystem {
    let object: RemoteObject

    func copyIn(_ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink) async throws
        -> CopyReport
    {
        try await object.call("writable.copyIn", .transfer, progress: progress) {
            CopyInParameters(handle: $0, host: host, path: path, options: options, deadlineMs: $1)
        }
    }

    func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
        try await call("writable.makeDirectory") {
            PathParameters(handle: $0, path: path, parents: parents, deadlineMs: $1)
        }
    }

    func remove(_ path: GuestPath, recursive: Bool) async throws {
        try await call("writable.remove") {
            PathParameters(handle: $0, path: path, recursive: recursive, deadlineMs: $1)
        }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) async throws {
        try await call("writable.rename") { PathParameters(handle: $0, path: path, newPath: newPath, deadlineMs: $1) }
    }

    func symlink(_ path: GuestPath, target: String) async throws {
        try await call("writable.symlink") { PathParameters(handle: $0, path: path, target: target, deadlineMs: $1) }
    }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {
        try await call("writable.setMetadata") {
            PathParameters(handle: $0, path: path, change: change, deadlineMs: $1)
        }
    }

    private func call(_ method: String, _ parameters: (String, Int64?) -> PathParameters) async throws {
        let _: Wire.Empty = try await object.call(method, .long, parameters)
    }
}
