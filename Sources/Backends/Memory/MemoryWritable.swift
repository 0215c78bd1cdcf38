import Abstractions
import BackendSupport

/// Changes a file system of a `memory` disk that is open for writing.
struct MemoryWritable: WritableFilesystem {
    let session: MemorySession
    let volume: VolumeID

    private var fault: MemoryFault? { session.fault }

    private func change(
        _ operation: String, _ body: @escaping @Sendable (inout MemoryTree) throws -> Void
    ) async throws {
        try await onThread(operation) { [session, volume] _ in try session.change(volume, operation, body) }
    }

    func copyIn(_ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink) async throws
        -> CopyReport
    {
        let operation = "writable.copyIn"
        return try await onThread(operation) { [session, volume] flag in
            let reader = try HostTreeReader(host)
            return try session.change(volume, operation) { tree in
                var visitor = MemoryCopyIn(
                    tree: tree, path: path, options: options, fault: session.fault, flag: flag, progress: progress)
                try visitor.checkTop(reader.top)
                try reader.walk(&visitor)
                tree = visitor.tree
                return visitor.finish()
            }
        }
    }

    func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
        let operation = "writable.makeDirectory"
        try await change(operation) { tree in
            if parents {
                try makeParents(of: path, operation, &tree)
                if let found = try? tree.find(path, operation), tree[found].stat.kind == .directory { return }
            }
            let (folder, name) = try freeName(path, operation, tree)
            _ = tree.add(MemoryNode(.directory, mode: 0o755, modified: now()), name, in: folder)
        }
    }

    private func makeParents(of path: GuestPath, _ operation: String, _ tree: inout MemoryTree) throws {
        var above = GuestPath.root
        for component in path.components.dropLast() {
            above = above.appending(component)
            if (try? tree.find(above, operation)) != nil { continue }
            let (folder, name) = try freeName(above, operation, tree)
            _ = tree.add(MemoryNode(.directory, mode: 0o755, modified: now()), name, in: folder)
        }
    }

    func remove(_ path: GuestPath, recursive: Bool) async throws {
        let operation = "writable.remove"
        try await change(operation) { [fault] tree in
            let node = tree[try tree.find(path, operation)]
            guard let name = path.components.last else {
                throw BackendError(.invalidArgument, operation, "the root folder cannot be removed")
            }
            guard recursive || node.entries.isEmpty || fault == .removeTakesFullFolder else {
                throw BackendError(
                    .invalidArgument, operation, "folder \(path) is not empty; remove it with all that is in it")
            }
            tree.unlink(GuestPath.bytes(of: name), in: try tree.parent(of: path, operation))
        }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) async throws {
        let operation = "writable.rename"
        try await change(operation) { [fault] tree in
            let source = try tree.find(path, operation)
            let folder = try tree.parent(of: path, operation)
            let newFolder = try tree.parent(of: newPath, operation)
            guard let name = path.components.last, let newName = newPath.components.last else {
                throw BackendError(.invalidArgument, operation, "the root folder cannot be renamed")
            }
            let isFolder = tree[source].stat.kind == .directory
            if isFolder, tree.contains(source, newFolder) {
                throw BackendError(.invalidArgument, operation, "folder \(path) cannot move into itself")
            }
            let oldBytes = GuestPath.bytes(of: name)
            let newBytes = try MemoryWritable.checked(newName, operation)
            if let there = tree[newFolder].entries[newBytes] {
                if there == source { return }
                let thereIsFolder = tree[there].stat.kind == .directory
                guard !(isFolder || thereIsFolder) || fault == .renameOverwritesFolder else {
                    throw BackendError(.alreadyExists, operation, "\(newPath) exists already")
                }
                tree.unlink(newBytes, in: newFolder)
            }
            tree.move(oldBytes, in: folder, to: newBytes, in: newFolder)
        }
    }

    func symlink(_ path: GuestPath, target: String) async throws {
        try await change("writable.symlink") { tree in
            let (folder, name) = try freeName(path, "writable.symlink", tree)
            _ = tree.add(MemoryNode(.symlink, mode: 0o777, modified: now(), target: target), name, in: folder)
        }
    }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {
        try await self.change("writable.setMetadata") { tree in
            let number = try tree.find(path, "writable.setMetadata")
            var stat = tree[number].stat
            stat.mode = change.mode.map { $0 & 0o7777 } ?? stat.mode
            stat.uid = change.uid ?? stat.uid
            stat.gid = change.gid ?? stat.gid
            stat.modifiedNanoseconds = change.modifiedNanoseconds ?? stat.modifiedNanoseconds
            tree.nodes[number]?.stat = stat
        }
    }

    private func freeName(_ path: GuestPath, _ operation: String, _ tree: MemoryTree) throws -> (Int, [UInt8]) {
        let folder = try tree.parent(of: path, operation)
        guard let name = path.components.last, tree[folder].entries[GuestPath.bytes(of: name)] == nil else {
            throw BackendError(.alreadyExists, operation, "\(path) exists already in the image", blame: .caller)
        }
        return (folder, try MemoryWritable.checked(name, operation))
    }

    /// The limits of every Unix file system.
    private static func checked(_ name: String, _ operation: String) throws -> [UInt8] {
        let bytes = GuestPath.bytes(of: name)
        guard bytes.count <= 255, !bytes.contains(0) else {
            throw BackendError(.invalidArgument, operation, "a name has at most 255 bytes and no zero byte")
        }
        return bytes
    }
}
