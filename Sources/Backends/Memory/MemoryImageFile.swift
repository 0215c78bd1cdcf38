import Abstractions
import FoundationEssentials
import Host

/// The file of a `memory` disk: a JSON object with the whole tree, replaced as a whole by each commit.
///
/// ```
/// {"format": "anyvisor-memory-1",
///  "volumes": [{"fileSystem": "memory", "label": "data", "size": 67108864, "state": "clean",
///    "nodes": [{"id": 1, "kind": "directory", "mode": 493, "entries": [{"name": "a", "node": 2}]},
///              {"id": 2, "kind": "file", "mode": 420, "uid": 0, "gid": 0, "mtime": 1700000000000000000,
///               "size": 5, "data": [{"at": 0, "bytes": "aGVsbG8="}]}]}]}
/// ```
/// Node 1 is the root. `mtime` counts nanoseconds since 1970, `bytes` is base64, names follow `GuestPath`'s rule. Two entries
/// with one node are hard links. A volume of another `fileSystem` (`swap`) has no nodes.
struct MemoryImageFile: Codable, Sendable {
    static let magic = "anyvisor-memory-1"

    var format = MemoryImageFile.magic
    var volumes: [VolumeRecord]

    struct VolumeRecord: Codable, Sendable {
        var fileSystem: String?
        var label: String?
        var size: Int64
        /// `clean`; `dirty` stands for a journal that waits for its replay, `error` for a damaged file system.
        var state: String?
        var nodes: [NodeRecord]?
    }

    struct NodeRecord: Codable, Sendable {
        var id: Int
        var kind: FileKind
        var mode: UInt32?
        var uid: UInt32?
        var gid: UInt32?
        var mtime: Int64?
        var size: Int64?
        var data: [Extent]?
        var target: String?
        var entries: [Entry]?
    }

    struct Extent: Codable, Sendable {
        var at: Int64
        var bytes: Data
    }

    struct Entry: Codable, Sendable {
        var name: String
        var node: Int
    }

    /// Reads and checks a file.
    ///
    /// - Throws: `notFound`, `permissionDenied`, `corrupt`.
    static func read(_ path: HostPath, allowDirty: Bool = false) throws -> MemoryImageFile {
        let bytes = try HostFiles.read(path, limit: 1 << 30)
        guard let file = try? JSONDecoder().decode(MemoryImageFile.self, from: Data(bytes)), file.format == magic else {
            throw damaged(path, "is not a memory disk")
        }
        for volume in file.volumes where !allowDirty && (volume.state ?? "clean") != "clean" {
            throw BackendError(
                .corrupt, "disk.open",
                "\(path) has a file system in state '\(volume.state ?? "")'; repair it before it is opened")
        }
        return file
    }

    /// Replaces the file, durably.
    ///
    /// - Throws: what the host says; the old file then stands.
    func write(_ path: HostPath) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try HostFiles.write(Array(try encoder.encode(self)), to: path, durable: true)
    }

    static func damaged(_ path: HostPath, _ what: String) -> BackendError {
        BackendError(.corrupt, "disk.open", "\(path) \(what)")
    }
}

extension MemoryImageFile.VolumeRecord {
    /// The tree of a volume.
    ///
    /// - Throws: `corrupt` for a node that is missing, twice there or in no folder.
    func tree(_ path: HostPath) throws -> MemoryTree {
        var tree = MemoryTree(capacity: size)
        tree.nodes = [:]
        for record in nodes ?? [] {
            guard tree.nodes.updateValue(try record.node(path), forKey: record.id) == nil else {
                throw MemoryImageFile.damaged(path, "has node \(record.id) twice")
            }
        }
        guard tree.nodes[MemoryTree.root]?.stat.kind == .directory else {
            throw MemoryImageFile.damaged(path, "has no root folder")
        }
        var names: [Int: Int] = [:]
        for node in tree.nodes.values {
            for child in node.entries.values {
                guard tree.nodes[child] != nil, child != MemoryTree.root else {
                    throw MemoryImageFile.damaged(path, "has a name for node \(child), which is not there")
                }
                names[child, default: 0] += 1
            }
        }
        for (number, node) in tree.nodes {
            let isFolder = node.stat.kind == .directory
            if isFolder, number != MemoryTree.root, names[number] != 1 {
                throw MemoryImageFile.damaged(path, "has folder \(number) under \(names[number] ?? 0) names")
            }
            let below = node.entries.values.count { tree.nodes[$0]?.stat.kind == .directory }
            tree.nodes[number]?.links = isFolder ? 2 + below : max(1, names[number] ?? 0)
        }
        tree.next = (tree.nodes.keys.max() ?? 1) + 1
        return tree
    }

    /// This volume with another tree.
    func with(_ tree: MemoryTree) -> MemoryImageFile.VolumeRecord {
        var copy = self
        copy.nodes = tree.nodes.keys.sorted().map { MemoryImageFile.NodeRecord($0, tree[$0]) }
        return copy
    }
}

extension MemoryImageFile.NodeRecord {
    init(_ number: Int, _ node: MemoryNode) {
        let stat = node.stat
        self.init(
            id: number, kind: stat.kind, mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: stat.modifiedNanoseconds)
        target = stat.target
        if stat.kind == .file {
            size = node.content.size
            data = node.content.extents.map { MemoryImageFile.Extent(at: $0.offset, bytes: Data($0.bytes)) }
        }
        if stat.kind == .directory {
            entries = node.entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }
                .map { MemoryImageFile.Entry(name: GuestPath.name(of: $0.key), node: $0.value) }
        }
    }

    func node(_ path: HostPath) throws -> MemoryNode {
        var node = MemoryNode(
            kind, mode: mode ?? (kind == .directory ? 0o755 : 0o644), uid: uid ?? 0, gid: gid ?? 0,
            modified: mtime ?? 0,
            target: target)
        for extent in data ?? [] {
            guard extent.at >= 0, extent.at <= Int64.max - Int64(extent.bytes.count) else {
                throw MemoryImageFile.damaged(path, "has data at offset \(extent.at)")
            }
            Array(extent.bytes).withUnsafeBytes { node.content.write(at: extent.at, $0) }
        }
        if let size {
            guard size >= node.content.size else { throw MemoryImageFile.damaged(path, "has data behind a file's end") }
            node.content.size = size
        }
        for entry in entries ?? [] {
            guard node.entries.updateValue(entry.node, forKey: GuestPath.bytes(of: entry.name)) == nil else {
                throw MemoryImageFile.damaged(path, "has the name '\(entry.name)' twice in one folder")
            }
        }
        return node
    }
}
