import Abstractions
import BackendSupport
import Host
import Testing

@testable import DirectBackend

@Suite struct ExtOperationTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    private func put(_ filesystem: ExtFilesystem, _ text: String, at path: GuestPath) throws {
        try HostFiles.write(Array(text.utf8), to: folder.file("content"))
        _ = try filesystem.copyIn(
            folder.file("content"), to: path, options: CopyInOptions(uid: 7, gid: 8), progress: .none,
            cancellation: CancellationFlag())
    }

    /// Path and content of everything in the file system, by the backend's own eyes.
    private func tree(_ filesystem: ExtFilesystem, _ path: GuestPath = .root) throws -> [String: String] {
        var found: [String: String] = [:]
        var after: String?
        repeat {
            let page = try filesystem.page(path, after: after)
            for entry in page.entries where path != .root || entry.name != "lost+found" {
                let inner = path.appending(entry.name)
                switch entry.stat.kind {
                case .directory:
                    found[inner.rawValue] = "folder \(entry.stat.links)"
                    found.merge(try tree(filesystem, inner)) { $1 }
                case .symlink: found[inner.rawValue] = "link \(entry.stat.target ?? "")"
                default:
                    let bytes = try filesystem.read(inner, offset: 0, count: 1000)
                    found[inner.rawValue] = String(decoding: bytes, as: UTF8.self)
                }
            }
            after = page.next
        } while after != nil
        return found
    }

    @Test(arguments: ["-t ext4", "-t ext2", "-t ext3 -O ^filetype", "-t ext4 -b 1024 -O ^dir_index"])
    func everyOperationDoesWhatItSaysAndSatisfiesE2fsck(options: String) async throws {
        let image = try await makeImage(folder, "32M", options)
        let filesystem = try openRaw(image)
        try filesystem.makeDirectory("/a/b/c", parents: true)
        try filesystem.makeDirectory("/a/b/c", parents: true)
        try put(filesystem, "one", at: "/a/one")
        try put(filesystem, "two", at: "/a/b/two")
        try put(filesystem, "new", at: "/a/one")
        try filesystem.symlink("/a/s", target: "b")
        try put(filesystem, "through the link", at: "/a/s/three")
        try filesystem.symlink("/long", target: String(repeating: "é", count: 300))
        try filesystem.rename("/a/b/two", to: "/a/one")
        try filesystem.rename("/a/b", to: "/moved")
        try filesystem.setMetadata("/a/one", MetadataChange(mode: 0o4711, uid: 70_000, modifiedNanoseconds: -5))
        let expected = [
            "/a": "folder 2", "/a/one": "two", "/a/s": "link b", "/moved": "folder 3", "/moved/c": "folder 2",
            "/moved/three": "through the link", "/long": "link " + String(repeating: "é", count: 300),
        ]
        #expect(try tree(filesystem) == expected)
        try filesystem.flush()
        try await fsck(image)
        let again = try openRaw(image)
        #expect(try tree(again) == expected)
        let stat = try again.stat(try again.resolve("/a/one", ""), "")
        #expect(stat.mode == 0o4711 && stat.uid == 70_000 && stat.gid == 8)
        try again.remove("/moved", recursive: true)
        try again.remove("/long", recursive: false)
        try again.remove("/a", recursive: true)
        #expect(try tree(again) == [:])
        try again.flush()
        try await fsck(image)
        #expect(try await shell("dumpe2fs -h \(image) 2>&1 | grep 'Free inodes' | tr -dc 0-9") != "")
    }

    @Test func whatCannotBeIsRefusedAndChangesNothing() async throws {
        let image = try await makeImage(folder, "16M")
        let filesystem = try openRaw(image)
        try filesystem.makeDirectory("/full/inner", parents: true)
        try put(filesystem, "x", at: "/file")
        func code(_ body: () throws -> Void) -> BackendError.Code? {
            do {
                try body()
                return nil
            } catch { return (error as? BackendError)?.code }
        }
        #expect(code { try filesystem.makeDirectory("/full", parents: false) } == .alreadyExists)
        #expect(code { try filesystem.makeDirectory("/no/way", parents: false) } == .notFound)
        #expect(code { try filesystem.makeDirectory("/file/way", parents: true) } == .alreadyExists)
        #expect(code { try filesystem.remove("/full", recursive: false) } == .invalidArgument)
        #expect(code { try filesystem.remove("/", recursive: true) } == .invalidArgument)
        #expect(code { try filesystem.remove("/nothing", recursive: true) } == .notFound)
        #expect(code { try filesystem.rename("/file", to: "/full") } == .alreadyExists)
        #expect(code { try filesystem.rename("/full", to: "/full/inner/deeper") } == .invalidArgument)
        #expect(code { try filesystem.symlink("/file", target: "x") } == .alreadyExists)
        #expect(code { try put(filesystem, "y", at: "/full") } == .invalidArgument)
        #expect(code { try put(filesystem, "y", at: "/no/file") } == .notFound)
        #expect(code { _ = try filesystem.read("/full", offset: 0, count: 1) } == .invalidArgument)
        #expect(code { _ = try filesystem.read("/file", offset: -1, count: 1) } == .invalidArgument)
        #expect(code { _ = try filesystem.page("/file", after: nil) } == .invalidArgument)
        try filesystem.flush()
        try await fsck(image)
    }

    @Test(arguments: ["-t ext4 -N 10000", "-t ext4 -b 1024 -N 10000", "-t ext3 -O ^metadata_csum -N 10000"])
    func aFolderOfManyNamesGetsAnIndexThatE2fsckAndDebugfsAccept(options: String) async throws {
        let image = try await makeImage(folder, "128M", options)
        _ = try await shell(
            "mkdir \(folder.path)/many; cd \(folder.path)/many; seq -f 'name-%05g-of-a-file' 8000 | xargs touch")
        let filesystem = try openRaw(image)
        _ = try filesystem.copyIn(
            folder.file("many"), to: "/many", options: CopyInOptions(), progress: .none,
            cancellation: CancellationFlag())
        try filesystem.flush()
        try await fsck(image)
        #expect(try await shell("debugfs -R 'htree_dump /many' \(image) 2>&1 | grep -c 'Entry #'") != "0\n")
        let listed = try await shell("debugfs -R 'ls -p /many' \(image) | grep -c name-")
        #expect(listed == "8000\n")
        let again = try openRaw(image)
        for number in 1...7_990 { try again.remove(GuestPath("/many/" + name(number)), recursive: false) }
        try again.flush()
        try await fsck(image)
        #expect(try again.page("/many", after: nil).entries.map(\.name) == (7_991...8_000).map(name))
    }

    private func name(_ number: Int) -> String {
        let digits = String(number)
        return "name-" + String(repeating: "0", count: 5 - digits.count) + digits + "-of-a-file"
    }

    @Test func aFragmentedFileGetsAnExtentTreeOfSeveralLevels() async throws {
        let image = try await makeImage(folder, "64M", "-t ext4 -b 1024 -O ^has_journal")
        let filesystem = try openRaw(image)
        // Holes make the extents: one of 1 KiB in each 8 KiB.
        _ = try await shell(
            """
            python3 -c '
            import os
            file = open("\(folder.path)/holes", "wb")
            for number in range(6000):
                file.seek(number * 8192)
                file.write(b"%1024d" % number)
            '
            """)
        _ = try filesystem.copyIn(
            folder.file("holes"), to: "/holes", options: CopyInOptions(), progress: .none,
            cancellation: CancellationFlag())
        try filesystem.flush()
        try await fsck(image)
        _ = try await shell(
            "debugfs -R 'dump /holes \(folder.path)/out' \(image) && cmp \(folder.path)/out \(folder.path)/holes")
        #expect(try filesystem.read("/holes", offset: 8192 * 5000 + 1000, count: 100).count == 100)
        #expect(
            String(decoding: try filesystem.read("/holes", offset: 8192 * 5000, count: 1024), as: UTF8.self).hasSuffix(
                " 5000"))
        try filesystem.remove("/holes", recursive: false)
        try filesystem.flush()
        try await fsck(image)
    }
}
