import Abstractions
import Synchronization

/// An image that several fake backends share: files by their paths.
final class FakeImage: Sendable {
    struct Node: Sendable, Hashable {
        var content: String
        var isFolder = false
        var modified: Int64 = 0
    }
    let nodes: Mutex<[GuestPath: Node]>
    let openSessions = Mutex(0)
    private let clock = Mutex<Int64>(1_000)

    init(_ files: [GuestPath: String]) {
        nodes = Mutex(files.mapValues { Node(content: $0) })
    }

    /// The files as they stand, without their times.
    var files: [GuestPath: String] { nodes.withLock { $0.mapValues { $0.isFolder ? "folder" : $0.content } } }

    func tick() -> Int64 {
        clock.withLock { clock in
            clock += 1
            return clock
        }
    }
}

/// A disk backend over a `FakeImage`: enough of the contract to see what a chain does with it.
struct FakeDisk: DiskAccess {
    let name: String
    let image: FakeImage
    var writes = true

    func info() async throws -> DiskAccessInfo {
        DiskAccessInfo(name: name, version: "1", features: [], formats: [.raw], fileSystems: [])
    }
    func check(_ depth: CheckDepth) async throws -> [Finding] { [] }
    func probe(_ image: DiskImage) async throws -> Suitability { Suitability(score: 100, reason: name) }
    func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        let isTaken = self.image.openSessions.withLock { open in
            defer { if open == 0 { open = 1 } }
            return open > 0
        }
        if isTaken { throw BackendError(.inUse, "disk.open", "the image is open") }
        return FakeSession(disk: self, mode: mode)
    }
    func close() async { image.openSessions.withLock { $0 = 0 } }
}

final class FakeSession: DiskSession {
    let disk: FakeDisk
    let mode: AccessMode
    let staged: Mutex<[GuestPath: FakeImage.Node]>

    init(disk: FakeDisk, mode: AccessMode) {
        self.disk = disk
        self.mode = mode
        staged = Mutex(disk.image.nodes.withLock { $0 })
    }

    func volumes() async throws -> [Volume] { [] }
    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem { FakeFilesystem(session: self) }
    func commit() async throws {
        let nodes = staged.withLock { $0 }
        disk.image.nodes.withLock { $0 = nodes }
    }
    func close() async throws { disk.image.openSessions.withLock { $0 = 0 } }
}

struct FakeFilesystem: GuestFilesystem, WritableFilesystem {
    let session: FakeSession

    private func notFound(_ path: GuestPath) -> BackendError { BackendError(.notFound, "fake", "no \(path)") }

    func stat(_ path: GuestPath) async throws -> FileStat {
        guard let node = session.staged.withLock({ $0[path] }) else { throw notFound(path) }
        return FileStat(
            kind: node.isFolder ? .directory : .file, size: ByteCount(Int64(node.content.utf8.count)), mode: 0o644,
            modifiedNanoseconds: node.modified * 1_000_000_000)
    }
    func list(_ path: GuestPath, after: String?) async throws -> DirectoryPage { DirectoryPage(entries: [], next: nil) }
    func read(_ path: GuestPath, offset: Int64, count: Int) async throws -> [UInt8] {
        guard let node = session.staged.withLock({ $0[path] }) else { throw notFound(path) }
        return Array(node.content.utf8)
    }
    func copyOut(_ path: GuestPath, to host: HostPath, policy: CopyPolicy, progress: ProgressSink) async throws
        -> CopyReport
    {
        let bytes = try await read(path, offset: 0, count: 1 << 20)
        try writeFile(host, bytes)
        progress.report(TransferProgress(bytes: Int64(bytes.count), files: 1))
        return CopyReport(bytes: Int64(bytes.count), files: 1)
    }
    var writable: (any WritableFilesystem)? { session.mode == .readWrite && session.disk.writes ? self : nil }
    var mount: (any MountFacet)? { nil }

    /// The host path's text plays the content.
    func copyIn(_ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink) async throws
        -> CopyReport
    {
        put(path, FakeImage.Node(content: host.string, modified: session.disk.image.tick()))
        return CopyReport(files: 1)
    }
    func makeDirectory(_ path: GuestPath, parents: Bool) async throws {
        put(path, FakeImage.Node(content: "", isFolder: true, modified: session.disk.image.tick()))
    }
    func remove(_ path: GuestPath, recursive: Bool) async throws {
        guard session.staged.withLock({ $0.removeValue(forKey: path) }) != nil else { throw notFound(path) }
    }
    func rename(_ path: GuestPath, to newPath: GuestPath) async throws {
        guard let node = session.staged.withLock({ $0.removeValue(forKey: path) }) else { throw notFound(path) }
        put(newPath, node)
    }
    func symlink(_ path: GuestPath, target: String) async throws {}
    func setMetadata(_ path: GuestPath, _ change: MetadataChange) async throws {}

    private func put(_ path: GuestPath, _ node: FakeImage.Node) { session.staged.withLock { $0[path] = node } }
}
