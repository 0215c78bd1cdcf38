import Abstractions

/// One change to a guest's file system, kept so that the next backend can do it again.
struct Change: Sendable {
    var volume: VolumeID
    var action: Action

    enum Action: Sendable {
        case copyIn(HostPath, GuestPath, CopyInOptions)
        case makeDirectory(GuestPath, parents: Bool)
        case remove(GuestPath, recursive: Bool)
        case rename(GuestPath, GuestPath)
        case symlink(GuestPath, target: String)
        case setMetadata(GuestPath, MetadataChange)
    }

    /// Its name on the plugin wire.
    var operation: String {
        switch action {
        case .copyIn: "writable.copyIn"
        case .makeDirectory: "writable.makeDirectory"
        case .remove: "writable.remove"
        case .rename: "writable.rename"
        case .symlink: "writable.symlink"
        case .setMetadata: "writable.setMetadata"
        }
    }

    /// The paths whose state it changes.
    var paths: [GuestPath] {
        switch action {
        case .copyIn(_, let path, _), .makeDirectory(let path, _), .remove(let path, _), .symlink(let path, _),
            .setMetadata(let path, _):
            [path]
        case .rename(let path, let newPath): [path, newPath]
        }
    }

    /// Whether doing it twice is the same as once, whatever other such changes stand around it.
    var isIdempotent: Bool {
        switch action {
        case .copyIn, .setMetadata, .makeDirectory(_, parents: true): true
        default: false
        }
    }

    func apply(to filesystem: any GuestFilesystem, progress: ProgressSink) async throws -> CopyReport {
        guard let writable = filesystem.writable else {
            throw BackendError(.unsupported, operation, "this backend cannot write")
        }
        switch action {
        case .copyIn(let host, let path, let options):
            return try await writable.copyIn(host, to: path, options: options, progress: progress)
        case .makeDirectory(let path, let parents): try await writable.makeDirectory(path, parents: parents)
        case .remove(let path, let recursive): try await writable.remove(path, recursive: recursive)
        case .rename(let path, let newPath): try await writable.rename(path, to: newPath)
        case .symlink(let path, let target): try await writable.symlink(path, target: target)
        case .setMetadata(let path, let change): try await writable.setMetadata(path, change)
        }
        return CopyReport()
    }
}
