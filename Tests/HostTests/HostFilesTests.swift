import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct HostFilesTests {
    @Test("a file is replaced whole, and keeps its old content when it cannot be")
    func write() async throws {
        try await withFolder { folder in
            let path = folder.appending("file")
            try HostFiles.write(Array("old".utf8), to: path)
            try HostFiles.write(Array("new".utf8), to: path, durable: true)
            #expect(try HostFiles.readText(path) == "new")
            #expect(HostFiles.names(in: folder) == ["file"])
            #expect(throws: BackendError.self) { try HostFiles.write([1], to: folder.appending("no/file")) }
        }
    }

    @Test("a file past the limit is refused")
    func limit() async throws {
        try await withFolder { folder in
            let path = folder.appending("file")
            try HostFiles.write([UInt8](repeating: 1, count: 100), to: path)
            #expect(try HostFiles.read(path, limit: 100).count == 100)
            #expect(throws: BackendError.self) { try HostFiles.read(path, limit: 99) }
        }
    }

    @Test("errno becomes the code that a caller can act on")
    func codes() {
        let codes: [(Int32, BackendError.Code)] = [
            (ENOENT, .notFound), (EEXIST, .alreadyExists), (EACCES, .permissionDenied), (ENOSPC, .noSpace),
            (EBUSY, .inUse), (EINVAL, .invalidArgument), (EIO, .internal),
        ]
        for (number, code) in codes {
            let error = hostError("o", "what", errno: number)
            #expect(error.code == code)
            #expect(error.native?.code == Int(number))
        }
    }

    @Test("a tree goes whatever its names, modes and depth, and links in it are not followed")
    func removeTree() async throws {
        try await withFolder { folder in
            let kept = folder.appending("kept")
            try HostFiles.makeDirectories(kept)
            try HostFiles.write([1], to: kept.appending("file"))
            let tree = folder.appending("tree")
            try HostFiles.makeDirectories(tree.appending("closed/inner"))
            symlink(kept.string, tree.appending("link").string)
            let name = (Array(tree.string.utf8) + [0x2f, 0x62, 0xff, 0x0a, 0]).map { CChar(bitPattern: $0) }
            #expect(mkdir(name, 0o700) == 0)
            chmod(tree.appending("closed").string, 0)
            try makeDeep(tree.appending("deep"), levels: 3_000)
            try HostFiles.removeTree(tree)
            #expect(HostFiles.names(in: folder) == ["kept"])
            #expect(HostFiles.names(in: kept) == ["file"])
            try HostFiles.removeTree(tree)
        }
    }

    /// Deeper than any path is long.
    private func makeDeep(_ path: HostPath, levels: Int) throws {
        try HostFiles.makeDirectories(path)
        var folder = open(path.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        for _ in 0..<levels {
            try #require(mkdirat(folder, "dd", 0o755) == 0)
            let next = openat(folder, "dd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            close(folder)
            folder = next
        }
        close(folder)
    }
}
