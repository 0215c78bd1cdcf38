import Abstractions
import Host
import PluginKit
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("The example plugin in Python")
struct ExamplePythonTests {
    /// A folder that plays a disk, and the backend that reads it.
    private func withExample(_ body: (any DiskAccess, DiskImage, HostPath) async throws -> Void) async throws {
        let here = HostPath(#filePath).parent.parent.parent
        let manifest = try PluginManifest(folder: here.appending("plugins/example-python"))
        guard case .disk(let make) = manifest.descriptor().factory else { return }
        let disk = try await make(try OptionValues([:], declared: []))
        let folder = try temporaryFolder()
        let image = DiskImage(path: folder.appending("disk"), format: .folder)
        try HostFiles.makeDirectories(image.path)
        try HostFiles.write(Array("old".utf8), to: image.path.appending("old"))
        do {
            try await body(disk, image, folder)
        } catch {
            await disk.close()
            try? HostFiles.removeTree(folder)
            throw error
        }
        await disk.close()
        #expect(HostFiles.names(in: folder).filter { $0.contains(".stage-") } == [])
        try HostFiles.removeTree(folder)
    }

    @Test("has fewer than 150 lines")
    func length() throws {
        let file = HostPath(#filePath).parent.parent.parent.appending("plugins/example-python/plugin.py")
        #expect(try HostFiles.readText(file).split(separator: "\n", omittingEmptySubsequences: false).count <= 150)
    }

    @Test("what is committed is there, what is closed without commit is not")
    func commit() async throws {
        try await withExample { disk, image, folder in
            let source = folder.appending("source")
            try HostFiles.write(Array("new".utf8), to: source, mode: 0o640)
            for commits in [false, true] {
                let session = try await disk.open(image, .readWrite)
                let filesystem = try await session.filesystem(on: .whole)
                let writable = try #require(filesystem.writable)
                let report = try await writable.copyIn(source, to: "/new", options: CopyInOptions(), progress: .none)
                #expect(report.files == 1 && report.bytes == 3)
                try await writable.remove("/old", recursive: false)
                #expect(try await filesystem.read("/new", offset: 1, count: 10) == Array("ew".utf8))
                #expect(HostFiles.names(in: image.path) == ["old"])
                if commits { try await session.commit() }
                try await session.close()
                #expect(HostFiles.names(in: image.path) == (commits ? ["new"] : ["old"]))
            }
        }
    }

    @Test("a second writer is refused")
    func secondWriter() async throws {
        try await withExample { disk, image, _ in
            let session = try await disk.open(image, .readWrite)
            #expect(await failure { _ = try await disk.open(image, .readWrite) }?.code == .inUse)
            #expect(await failure { _ = try await disk.open(image, .readOnly) }?.code == .inUse)
            try await session.close()
            try await disk.open(image, .readOnly).close()
        }
    }

    @Test("a link that leads out of the folder leads nowhere")
    func escape() async throws {
        try await withExample { disk, image, folder in
            symlink("/etc", image.path.appending("out").string)
            symlink("../..", image.path.appending("up").string)
            let session = try await disk.open(image, .readWrite)
            let filesystem = try await session.filesystem(on: .whole)
            let writable = try #require(filesystem.writable)
            for path: GuestPath in ["/out/passwd", "/up/etc/passwd", "/up/x"] {
                #expect(await failure { _ = try await filesystem.stat(path) }?.code == .notFound)
                #expect(await failure { try await writable.makeDirectory(path, parents: true) }?.code == .notFound)
                #expect(await failure { try await writable.remove(path, recursive: true) }?.code == .notFound)
            }
            #expect(try await filesystem.stat("/out").target == "/etc")
            let target = folder.appending("copy")
            let report = try await filesystem.copyOut(
                "/", to: target, policy: .untrusted(CopyLimits()), progress: .none)
            #expect(report.refused.map(\.path).sorted() == ["out", "up"])
            #expect(HostFiles.names(in: target) == ["old"])
        }
    }

    @Test("killed in a session, it leaves the folder as it was, and the next writer clears up")
    func killed() async throws {
        try await withExample { disk, image, folder in
            let session = try await disk.open(image, .readWrite)
            let writable = try #require(try await session.filesystem(on: .whole).writable)
            try await writable.makeDirectory("/half", parents: false)
            for process in ProcessIdentity.all(withVariable: "ANYVISOR_PLUGIN", "1") {
                let command = try? HostFiles.readText(HostPath("/proc/\(process.pid)/cmdline"))
                let parent = try? HostFiles.readText(HostPath("/proc/\(process.pid)/status"))
                if command?.contains("example-python") == true, parent?.contains("PPid:\t\(getpid())\n") == true,
                    HostFiles.names(in: HostPath("/proc/\(process.pid)/fd")).contains(where: {
                        HostFiles.resolved(HostPath("/proc/\(process.pid)/fd/\($0)")) == HostFiles.resolved(image.path)
                    })
                {
                    process.signal(SIGKILL)
                }
            }
            #expect(await failure { try await session.commit() }?.code == .crashed)
            #expect(HostFiles.names(in: image.path) == ["old"])
            try await disk.open(image, .readWrite).close()
            #expect(HostFiles.names(in: folder).filter { $0.contains(".stage-") } == [])
        }
    }
}
