import Abstractions
import Host

/// What a disk case gets.
public struct DiskContext: Sendable {
    let cell: DiskCell
    /// A folder of its own, removed afterwards.
    let folder: HostPath

    var backend: any DiskAccess { cell.backend }
    var info: DiskAccessInfo { cell.info }
    var fixture: DiskFixture { cell.fixture }

    func has(_ feature: Feature) -> Bool { cell.features.contains(feature) }

    /// A fresh image of the case's own.
    func image(_ shape: DiskFixture.Shape = .standard, _ name: String = "disk") async throws -> DiskImage {
        try await fixture.make(shape, at: folder.appending("\(name).\(fixture.format)"))
    }

    /// The shared file system with the standard tree; must not be changed.
    func reading() async throws -> any GuestFilesystem { try await cell.reading().filesystem }

    /// A shared file system that may be changed below the folder that comes with it; nothing is ever committed.
    func changing() async throws -> (filesystem: any GuestFilesystem, writable: any WritableFilesystem, base: GuestPath)
    {
        let filesystem = try await cell.changing().filesystem
        let writable = try required(filesystem.writable, "the writable facet of a session open for writing")
        let base = GuestPath("/case-\(await cell.number())")
        try await writable.makeDirectory(base, parents: false)
        return (filesystem, writable, base)
    }

    /// Opens an image, hands its first file system out and closes the session.
    @discardableResult
    func with<Value>(
        _ image: DiskImage, _ mode: AccessMode, by other: (any DiskAccess)? = nil,
        _ body: (any DiskSession, any GuestFilesystem) async throws -> Value
    ) async throws -> Value {
        let session = try await (other ?? backend).open(image, mode)
        do {
            let value = try await body(session, try await firstFilesystem(session, info))
            try await session.close()
            return value
        } catch {
            try? await session.close()
            throw error
        }
    }

    /// The whole image as it lies on the host, to see whether anything changed it.
    func fingerprint(_ image: DiskImage) async throws -> String {
        guard image.format != .folder else {
            let list = try await Tool.check("find", [image.path.string, "-printf", "%P %y %m %s %T@ %l\\n"])
            return list.text.split(separator: "\n").sorted().joined(separator: "\n")
        }
        return try await Tool.check("sha256sum", ["-b", image.path.string]).text.split(separator: " ").first.map(
            String.init)
            ?? ""
    }

    /// Everything that a fresh session sees: names, metadata, and the content of small files.
    ///
    /// The bytes of the image may differ where no file is, since new data goes to free blocks before the commit.
    func sight(_ image: DiskImage) async throws -> [String] {
        try await with(image, .readOnly) { _, filesystem in
            var lines: [String] = []
            var pending: [GuestPath] = [.root]
            while let folder = pending.popLast() {
                for entry in try await entries(folder, in: filesystem) {
                    let path = folder.appending(entry.name)
                    var line = "\(path) \(entry.stat)"
                    if entry.stat.kind == .directory, !path.rawValue.hasPrefix("/deep/d") { pending.append(path) }
                    if entry.stat.kind == .file, (1...100_000).contains(entry.stat.size.bytes) {
                        line += " \(try await content(path, in: filesystem).hashValue)"
                    }
                    lines.append(line)
                }
            }
            return lines.sorted()
        }
    }

    /// - Throws: `ConformanceFailure` that names the first difference.
    func expectSight(_ image: DiskImage, _ before: [String]) async throws {
        let after = try await sight(image)
        let lost = Set(before).subtracting(after).sorted().first
        let new = Set(after).subtracting(before).sorted().first
        try expect(after == before, "was \(lost ?? "nothing"), is \(new ?? "nothing")")
        if fixture.kind.isExt { try await ExtOracle(image, folder: folder).checkClean() }
    }

    /// A host file with this content, in the case's folder.
    func hostFile(_ name: String, _ bytes: [UInt8]) throws -> HostPath {
        let path = folder.appending(name)
        try HostFiles.write(bytes, to: path)
        return path
    }

    /// A host tree in the case's folder.
    func hostTree(_ name: String, _ tree: FixtureTree) throws -> HostPath {
        let path = folder.appending(name)
        try HostFiles.makeDirectories(path)
        try HostTree.make(tree, below: path)
        return path
    }

    /// A whole file of the guest.
    func content(_ path: GuestPath, in filesystem: any GuestFilesystem) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let piece = try await filesystem.read(path, offset: Int64(bytes.count), count: 512 << 10)
            if piece.isEmpty { return bytes }
            bytes += piece
        }
    }

    /// A whole folder of the guest.
    func entries(_ path: GuestPath, in filesystem: any GuestFilesystem) async throws -> [DirectoryEntry] {
        var entries: [DirectoryEntry] = []
        var after: String?
        repeat {
            let page = try await filesystem.list(path, after: after)
            entries += page.entries
            after = page.next
            try expect(entries.count < 100_000, "the pages of \(path) never end")
        } while after != nil
        return entries
    }

    /// Whether something is at a path.
    func exists(_ path: GuestPath, in filesystem: any GuestFilesystem) async throws -> Bool {
        do {
            _ = try await filesystem.stat(path)
            return true
        } catch let error as BackendError where error.code == .notFound {
            return false
        }
    }
}
