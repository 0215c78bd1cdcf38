import Abstractions
import GuestFSBackend
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A backend with a folder for images; gone with `close`.
struct ApplianceLab {
    let folder: HostPath
    let access: any DiskAccess

    /// - Throws: the reason why the appliance cannot run here, which skips the test.
    static func open() async throws -> ApplianceLab {
        guard case .disk(let make) = GuestFSBackend.descriptor.factory else {
            throw BackendError(.internal, "test", "libguestfs is no disk backend")
        }
        let access = try await make(
            try OptionValues(["kvm": "false"], declared: GuestFSBackend.descriptor.options))
        if let bad = try await access.check(.presence).first(where: { $0.isObstacle }) {
            try Test.cancel("\(bad.detail)")
        }
        return ApplianceLab(folder: try RunScope.makeProcessFolder("guestfs-test"), access: access)
    }

    /// Runs a test with a lab of its own.
    static func with(_ body: (ApplianceLab) async throws -> Void) async throws {
        let lab = try await open()
        do {
            try await body(lab)
        } catch {
            await lab.close()
            throw error
        }
        await lab.close()
        #expect(ApplianceLab.appliances.isEmpty)
    }

    private func close() async {
        await access.close()
        try? HostFiles.removeTree(folder)
    }

    /// Makes a raw image of this size with a tool.
    func image(_ name: String, _ size: String, _ tool: String, _ arguments: [String]) async throws -> DiskImage {
        if HostEnvironment.program(tool) == nil { try Test.cancel("\(tool) is not installed") }
        let path = folder.appending(name)
        _ = try await Tool.check("truncate", ["-s", size, path.string])
        _ = try await Tool.check(tool, arguments + [path.string])
        return DiskImage(path: path, format: .raw)
    }

    /// An ext4 image with one file; two of the same size have that file in the same blocks.
    func ext4(_ name: String, _ content: String) async throws -> DiskImage {
        let tree = folder.appending("\(name)-tree")
        try HostFiles.makeDirectories(tree)
        try HostFiles.write(Array(content.utf8), to: tree.appending("file"))
        return try await image(name, "16M", "mke2fs", ["-q", "-F", "-t", "ext4", "-d", tree.string])
    }

    /// Unpacks an image of `Tests/Fixtures/lvm`.
    func fixture(_ name: String) async throws -> DiskImage {
        let packed = HostPath(#filePath).parent.parent.appending("Fixtures/lvm").appending("\(name).xz")
        let path = folder.appending(name)
        try HostFiles.write(try await Tool.check("xz", ["-dc", packed.string]).output, to: path)
        return DiskImage(path: path, format: .raw)
    }

    /// What a file has, read in a session of its own.
    func read(_ path: GuestPath, _ image: DiskImage, _ volume: VolumeID = .whole) async throws -> String {
        try await session(image, .readOnly) { session in
            let bytes = try await session.filesystem(on: volume).read(path, offset: 0, count: 1024)
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// Puts a file in and commits, in a session of its own.
    func write(_ text: String, to path: GuestPath, _ image: DiskImage, _ volume: VolumeID = .whole) async throws {
        let file = folder.appending("upload")
        try HostFiles.write(Array(text.utf8), to: file)
        try await session(image, .readWrite) { session in
            let writable = try #require(try await session.filesystem(on: volume).writable)
            _ = try await writable.copyIn(file, to: path, options: CopyInOptions(), progress: .none)
            try await session.commit()
        }
    }

    /// Runs `body` in a session of its own.
    func session<Value>(
        _ image: DiskImage, _ mode: AccessMode, _ body: (any DiskSession) async throws -> Value
    ) async throws -> Value {
        let session = try await access.open(image, mode)
        do {
            let value = try await body(session)
            try await session.close()
            return value
        } catch {
            try? await session.close()
            throw error
        }
    }

    /// The appliances that this process has: machines of QEMU that are its children.
    static var appliances: Set<Int32> {
        Set(
            HostFiles.names(in: "/proc").compactMap { Int32($0) }.filter { pid in
                guard let text = try? HostFiles.readText(HostPath("/proc/\(pid)/stat")),
                    let close = text.lastIndex(of: ")"), text.contains("(qemu-system")
                else { return false }
                let fields = text[text.index(after: close)...].split(separator: " ")
                return fields.count > 1 && fields[0] != "Z" && fields[1] == "\(getpid())"
            })
    }
}
