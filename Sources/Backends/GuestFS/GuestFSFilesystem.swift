import Abstractions
import BackendSupport
import Host

/// The file system on one volume of a session; mounted in the appliance when it is used.
final class GuestFSFilesystem: GuestFilesystem, WritableFilesystem {
    private let session: GuestFSSession
    private let volume: VolumeID

    init(_ session: GuestFSSession, _ volume: VolumeID) {
        self.session = session
        self.volume = volume
    }

    var writable: (any WritableFilesystem)? { session.mode == .readWrite ? self : nil }
    var mount: (any MountFacet)? { nil }

    func stat(_ path: GuestPath) async throws -> FileStat { try await on("stat") { try $0.entry(path).stat } }

    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage {
        try await on("list") { try $0.list(path, after: after) }
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        try await on("read") { try $0.read(path, offset: offset, count: count) }
    }

    func copyOut(
        _ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink
    ) async throws -> CopyReport {
        let target = HostFiles.absolute(host)
        return try await session.copy("copyOut") { [volume] core, flag in
            try ApplianceTree(try core.guest(volume)).copyOut(
                path, to: target, policy: policy, progress: progress, flag)
        }
    }

    func copyIn(
        _ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink
    ) async throws -> CopyReport {
        let source = HostFiles.absolute(host)
        return try await session.copy("copyIn") { [volume] core, flag in
            try ApplianceTree(try core.guest(volume)).copyIn(
                source, to: path, options: options, progress: progress, flag)
        }
    }

    func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
        try await on("makeDirectory") { try $0.makeDirectory(path, parents: parents) }
    }

    func remove(_ path: GuestPath, recursive: Bool) async throws {
        try await on("remove") { try $0.remove(path, recursive: recursive) }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) async throws {
        try await on("rename") { try $0.rename(path, to: newPath) }
    }

    func symlink(_ path: GuestPath, target: String) async throws {
        try await on("symlink") { try $0.symlink(path, target: target) }
    }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {
        try await on("setMetadata") { try $0.setMetadata(path, change) }
    }

    private func on<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (ApplianceTree) throws -> Value
    ) async throws -> Value {
        try await session.perform(operation) { [volume] core in try body(ApplianceTree(try core.guest(volume))) }
    }
}
