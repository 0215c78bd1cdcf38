import Abstractions

/// Answers the methods of a disk plugin.
struct DiskService: Sendable {
    let disk: any DiskAccess
    private let sessions = HandleTable<any DiskSession>("s")
    private let filesystems = HandleTable<any GuestFilesystem>("f")

    init(_ disk: any DiskAccess) { self.disk = disk }

    func dispatch(_ call: Call) async throws -> [UInt8] {
        switch call.method {
        case "disk.info": return try call.result(try await disk.info())
        case "disk.check":
            let depth = try call.parameters(CheckParameters.self).depth
            return try call.result(Value(value: try await disk.check(depth)))
        case "disk.probe":
            return try call.result(try await disk.probe(try call.parameters(OpenParameters.self).image))
        case "disk.open":
            let wanted = try call.parameters(OpenParameters.self)
            let session = try await disk.open(wanted.image, wanted.mode ?? .readOnly)
            return try call.result(HandleParameters(handle: sessions.add(session), deadlineMs: nil))
        default:
            if call.method.hasPrefix("session.") { return try await session(call) }
            if call.method.hasPrefix("filesystem.") { return try await filesystem(call) }
            if call.method.hasPrefix("writable.") { return try await write(call) }
            throw call.unknownMethod()
        }
    }

    /// Forgets a handle. A session that nobody can reach any more is closed, so that it lets the image go.
    func release(_ handle: String) {
        filesystems.remove(handle)
        guard let session = try? sessions.find(handle) else { return }
        sessions.remove(handle)
        Task { try? await session.close() }
    }

    private func session(_ call: Call) async throws -> [UInt8] {
        let handle = try call.parameters(HandleParameters.self).handle
        let session = try sessions.find(handle)
        switch call.method {
        case "session.volumes": return try call.result(Value(value: try await session.volumes()))
        case "session.filesystem":
            let filesystem = try await session.filesystem(on: try call.parameters(VolumeParameters.self).volume)
            let facets: [(Feature, Bool)] = [(.write, filesystem.writable != nil), (.mount, filesystem.mount != nil)]
            return try call.result(
                FilesystemHandle(handle: filesystems.add(filesystem), facets: facets.filter(\.1).map(\.0)))
        case "session.commit": try await session.commit()
        case "session.close": try await session.close()
        default: throw call.unknownMethod()
        }
        return try call.result(Wire.Empty())
    }

    private func filesystem(_ call: Call) async throws -> [UInt8] {
        let filesystem = try filesystems.find(try call.parameters(HandleParameters.self).handle)
        switch call.method {
        case "filesystem.stat":
            return try call.result(try await filesystem.stat(try call.parameters(PathParameters.self).path))
        case "filesystem.list":
            let wanted = try call.parameters(PathParameters.self)
            return try call.result(shortened(try await filesystem.list(wanted.path, after: wanted.after)))
        case "filesystem.read":
            let wanted = try call.parameters(ReadParameters.self)
            // base64 makes 4 bytes of 3, and the line has a limit
            let bytes = try await filesystem.read(
                wanted.path ?? .root, offset: wanted.offset, count: min(wanted.count, Wire.readLimit))
            return try call.result(Value(value: Base64.encode(bytes)))
        case "filesystem.copyOut":
            let wanted = try call.parameters(CopyOutParameters.self)
            return try call.result(
                try await filesystem.copyOut(
                    wanted.path, to: wanted.host, policy: wanted.policy, progress: call.progress))
        case "filesystem.mountPoint":
            guard let mount = filesystem.mount else { throw call.missingFacet("mount") }
            return try call.result(Value(value: try await mount.mountPoint()))
        default: throw call.unknownMethod()
        }
    }

    private func write(_ call: Call) async throws -> [UInt8] {
        let filesystem = try filesystems.find(try call.parameters(HandleParameters.self).handle)
        guard let writable = filesystem.writable else { throw call.missingFacet("writable") }
        if call.method == "writable.copyIn" {
            let wanted = try call.parameters(CopyInParameters.self)
            return try call.result(
                try await writable.copyIn(
                    wanted.host, to: wanted.path, options: wanted.options, progress: call.progress))
        }
        let wanted = try call.parameters(PathParameters.self)
        switch call.method {
        case "writable.makeDirectory": try await writable.makeDirectory(wanted.path, parents: wanted.parents ?? false)
        case "writable.remove": try await writable.remove(wanted.path, recursive: wanted.recursive ?? false)
        case "writable.rename": try await writable.rename(wanted.path, to: wanted.newPath ?? wanted.path)
        case "writable.symlink": try await writable.symlink(wanted.path, target: wanted.target ?? "")
        case "writable.setMetadata": try await writable.setMetadata(wanted.path, wanted.change ?? MetadataChange())
        default: throw call.unknownMethod()
        }
        return try call.result(Wire.Empty())
    }

    /// A page that fits a line: entries with long names or targets go to the next one.
    private func shortened(_ page: DirectoryPage) -> DirectoryPage {
        var bytes = 0
        var fitting = 0
        for entry in page.entries {
            bytes += 300 + 6 * (entry.name.utf8.count + (entry.stat.target?.utf8.count ?? 0))
            if bytes > Wire.lineLimit - 4096 { break }
            fitting += 1
        }
        guard fitting < page.entries.count, fitting > 0 else { return page }
        let entries = Array(page.entries.prefix(fitting))
        return DirectoryPage(entries: entries, next: entries.last?.name)
    }
}
