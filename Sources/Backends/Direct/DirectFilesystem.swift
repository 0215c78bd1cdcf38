import Abstractions
import BackendSupport

/// A file system of a session.
final class DirectFilesystem: GuestFilesystem {
    private let session: DirectSession
    private let volume: VolumeID
    private let mode: AccessMode

    init(_ session: DirectSession, _ volume: VolumeID, _ mode: AccessMode) {
        self.session = session
        self.volume = volume
        self.mode = mode
    }

    private func run<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (ExtFilesystem, CancellationFlag) throws -> Value
    ) async throws -> Value {
        let volume = volume
        return try await session.run(operation) { image, flag in try body(try image.filesystem(volume), flag) }
    }

    func stat(_ path: GuestPath) async throws -> FileStat {
        try await run("disk.stat") { filesystem, _ in
            try filesystem.stat(try filesystem.resolve(path, "disk.stat"), "disk.stat")
        }
    }

    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage {
        try await run("disk.list") { filesystem, _ in try filesystem.page(path, after: after) }
    }

    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        try await run("disk.read") { filesystem, _ in try filesystem.read(path, offset: offset, count: count) }
    }

    func copyOut(
        _ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink
    ) async throws -> CopyReport {
        try await run("disk.copyOut") { filesystem, flag in
            try filesystem.copyOut(path, to: host, policy: policy, progress: progress, cancellation: flag)
        }
    }

    var writable: (any WritableFilesystem)? { mode == .readWrite ? Writer(session: session, volume: volume) : nil }
    var mount: (any MountFacet)? { nil }

    private struct Writer: WritableFilesystem {
        let session: DirectSession
        let volume: VolumeID

        private func run<Value: Sendable>(
            _ operation: String, _ body: @escaping @Sendable (ExtFilesystem, CancellationFlag) throws -> Value
        ) async throws -> Value {
            let volume = volume
            return try await session.run(operation) { image, flag in try body(try image.filesystem(volume), flag) }
        }

        func copyIn(
            _ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink
        ) async throws -> CopyReport {
            try await run("disk.copyIn") { filesystem, flag in
                try filesystem.copyIn(host, to: path, options: options, progress: progress, cancellation: flag)
            }
        }

        func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
            try await run("disk.makeDirectory") { filesystem, _ in
                try filesystem.makeDirectory(path, parents: parents)
            }
        }

        func remove(_ path: GuestPath, recursive: Bool) async throws {
            try await run("disk.remove") { filesystem, _ in try filesystem.remove(path, recursive: recursive) }
        }

        func rename(_ path: GuestPath, to newPath: GuestPath) async throws {
            try await run("disk.rename") { filesystem, _ in try filesystem.rename(path, to: newPath) }
        }

        func symlink(_ path: GuestPath, target: String) async throws {
            try await run("disk.symlink") { filesystem, _ in try filesystem.symlink(path, target: target) }
        }

        func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {
            try await run("disk.setMetadata") { filesystem, _ in try filesystem.setMetadata(path, change) }
        }
    }
}
