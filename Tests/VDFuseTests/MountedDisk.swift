import Abstractions
import Host
import VDFuseBackend

/// A folder with a small ext4 image, and the backend on it.
struct MountedDisk {
    let folder: HostPath
    let image: DiskImage
    let access: any DiskAccess

    /// Makes the image, runs `body`, and removes everything; the backend is closed whatever happens.
    static func with(
        mounter: String = "auto", size: String = "16M", _ body: (MountedDisk) async throws -> Void
    ) async throws {
        let folder = try RunScope.makeProcessFolder("vdfuse-test")
        let image = DiskImage(path: folder.appending("disk.img"), format: .raw)
        _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", "-L", "test", image.path.string, size])
        guard case .disk(let make) = VDFuseBackend.descriptor.factory else { return }
        let options = try OptionValues(["mounter": mounter], declared: VDFuseBackend.descriptor.options)
        let disk = MountedDisk(folder: folder, image: image, access: try await make(options))
        do {
            try await body(disk)
        } catch {
            await disk.access.close()
            try? HostFiles.removeTree(folder)
            throw error
        }
        await disk.access.close()
        try HostFiles.removeTree(folder)
    }

    /// Opens the image for writing and hands over its file system.
    func write(_ body: (any DiskSession, any GuestFilesystem, any WritableFilesystem) async throws -> Void) async throws
    {
        let session = try await access.open(image, .readWrite)
        do {
            let filesystem = try await session.filesystem(on: .whole)
            guard let writable = filesystem.writable else {
                throw BackendError(.internal, "test", "a writable session has no writable facet")
            }
            try await body(session, filesystem, writable)
        } catch {
            try? await session.close()
            throw error
        }
        try await session.close()
    }

    /// The image's bytes.
    func bytes() throws -> [UInt8] { try HostFiles.read(image.path) }

    /// How `e2fsck -fn` ends on the image.
    func check() async throws -> ProcessExit { try await Tool.run("e2fsck", ["-fn", image.path.string]).exit }

    /// What `debugfs` says to a request.
    func debugfs(_ request: String) async throws -> String {
        try await Tool.check("debugfs", ["-R", request, image.path.string]).text
    }

    /// Makes the FUSE server send what nobody asked for.
    func babble() async throws {
        guard let server = server() else { throw BackendError(.notFound, "test", "there is no FUSE server") }
        let project = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        _ = try await Tool.check("python3", ["/\(project)/scripts/babble", "\(server.pid)", "0"])
    }

    /// The FUSE server of this test's image.
    func server() -> ProcessIdentity? {
        HostFiles.names(in: "/proc").compactMap { Int32($0) }.compactMap { pid -> ProcessIdentity? in
            guard let command = try? HostFiles.readText(HostPath("/proc/\(pid)/cmdline")),
                command.contains("--serve-fuse"), command.contains(image.path.string)
            else { return nil }
            return ProcessIdentity(pid: pid)
        }.first
    }
}
