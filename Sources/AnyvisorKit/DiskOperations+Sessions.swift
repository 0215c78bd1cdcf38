import Abstractions
import Filters
import Host
import VirtualDisk

// In a scope that the caller made, for commands that have one and do more than a copy.

extension DiskOperations {
    /// `upload` without a scope of its own.
    package func put(
        _ source: String, to path: String, log: FallbackLog, progress: ProgressSink
    ) async throws -> CopyReport {
        let host = HostFiles.absolute(HostPath(source))
        guard HostFiles.exists(host) else {
            throw BackendError(.notFound, "disk.put", "there is no \(source)", blame: .caller)
        }
        let guest = path.hasSuffix("/") ? GuestPath(path).appending(host.name) : GuestPath(path)
        return try await withFilesystem(.readWrite, log) { filesystem, session in
            let report = try await writable(filesystem)
                .copyIn(host, to: guest, options: CopyInOptions(), progress: progress)
            try await session.commit()
            return report
        }
    }

    /// `download` without a scope of its own.
    package func get(
        _ path: String, to target: String, _ policy: CopyPolicy, log: FallbackLog, progress: ProgressSink
    ) async throws -> CopyReport {
        let path = GuestPath(path)
        var host = HostFiles.absolute(HostPath(target))
        if HostFiles.isDirectory(host) { host = host.appending(path.name == "/" ? "root" : path.name) }
        return try await withFilesystem(.readOnly, log) { [host] filesystem, _ in
            try await filesystem.copyOut(path, to: host, policy: policy, progress: progress)
        }
    }

    /// `export` without a scope of its own; returns the disk's size in bytes.
    package func exportContent(to target: String, progress: ProgressSink) async throws -> Int64 {
        let image = try name.image()
        let target = HostFiles.absolute(HostPath(target))
        return try await onOwnThread {
            Result {
                let disk = try VirtualDisk.open(image, .readOnly)
                try disk.export(to: target, progress: progress)
                return disk.content.size
            }
        }.get()
    }

    /// Opens the image with the chain, runs the body and closes; the body commits itself.
    package func withSession<Value: Sendable>(
        _ mode: AccessMode, _ log: FallbackLog, _ body: @Sendable (any DiskSession) async throws -> Value
    ) async throws -> Value {
        let image = try name.image()
        let access = try Catalogue.load(plugins: plugins, log: log).diskChain(backends)
        do {
            let session = try await access.open(image, mode)
            let value = try await body(session)
            try await session.close()
            await access.close()
            return value
        } catch {
            await access.close()
            throw error
        }
    }

    /// Like `withSession`, on the one file system that is meant.
    package func withFilesystem<Value: Sendable>(
        _ mode: AccessMode, _ log: FallbackLog,
        _ body: @Sendable (any GuestFilesystem, any DiskSession) async throws -> Value
    ) async throws -> Value {
        try await withSession(mode, log) { session in
            try await body(try await session.filesystem(on: try await chosenVolume(session)), session)
        }
    }

    /// The writable facet, or why there is none.
    package func writable(_ filesystem: any GuestFilesystem) throws -> any WritableFilesystem {
        guard let writable = filesystem.writable else {
            throw BackendError(
                .unsupported, "disk.write", "the backend cannot write to \(name.path); name another with --disk")
        }
        return writable
    }

    private func chosenVolume(_ session: any DiskSession) async throws -> VolumeID {
        let volumes = try await session.volumes()
        let names = volumes.map { "\($0.id) (\($0.fileSystem ?? "unknown"))" }.joined(separator: ", ")
        if let volume {
            guard volumes.contains(where: { $0.id == volume }) else {
                throw BackendError(
                    .invalidArgument, "disk.volume", "\(name.path) has no volume '\(volume)', it has: \(names)",
                    blame: .caller)
            }
            return volume
        }
        let known = volumes.filter { $0.fileSystem != nil && $0.fileSystem != "swap" }
        // A backend that shows logical volumes shows what holds them too; one that does not leaves the choice to the next.
        let logical = known.filter { $0.fileSystem != "LVM2_member" }
        let usable = logical.isEmpty ? known : logical
        guard let only = usable.first, usable.count == 1 else {
            let hint = volumes.isEmpty ? "it has no file system that is known" : "choose one with --volume: \(names)"
            throw BackendError(.invalidArgument, "disk.volume", "\(name.path): \(hint)", blame: .caller)
        }
        return only.id
    }
}
