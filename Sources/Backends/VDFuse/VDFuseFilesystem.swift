import Abstractions
import BackendSupport
import Host

/// The file system on one volume of a session; mounted when it is used.
final class VDFuseFilesystem: GuestFilesystem, WritableFilesystem, MountFacet {
    private let session: VDFuseSession
    private let volume: VolumeID

    init(_ session: VDFuseSession, _ volume: VolumeID) {
        self.session = session
        self.volume = volume
    }

    var writable: (any WritableFilesystem)? { session.mode == .readWrite ? self : nil }
    var mount: (any MountFacet)? { self }

    func mountPoint() async throws -> HostPath {
        try await session.perform("mountPoint") { [volume] in try $0.mountPoint(volume) }
    }

    func stat(_ path: GuestPath) async throws -> FileStat { try await on("stat") { try $0.stat(path) } }

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
            try core.tree(volume).copyOut(path, to: target, policy: policy, progress: progress, flag)
        }
    }

    func copyIn(
        _ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink
    ) async throws -> CopyReport {
        let source = HostFiles.absolute(host)
        return try await session.copy("copyIn") { [volume] core, flag in
            let tree = try core.tree(volume)
            let reader = try HostTreeReader(source)
            let folder = try tree.parent(of: path)
            defer { MountedTree.close(folder) }
            return try TreeInserter.copy(
                reader, to: path == .root ? "." : path.name, in: folder, options: options, progress: progress, flag)
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
        _ operation: String, _ body: @escaping @Sendable (MountedTree) throws -> Value
    ) async throws -> Value {
        try await session.perform(operation) { [volume] core in try body(try core.tree(volume)) }
    }
}
