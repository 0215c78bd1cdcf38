import Abstractions
import BackendSupport
import Host
import Testing

@testable import DirectBackend

@Suite struct DirectSessionTests {
    private let folder: TestFolder
    private let access = DirectDiskAccess()

    init() throws { folder = try TestFolder() }

    /// A VDI with one ext4 partition at 1 MiB, and the way back to the partition's raw content.
    private func makeVDI(_ size: String = "128M", _ options: String = "") async throws -> DiskImage {
        let raw = folder.file("made.raw")
        _ = try await shell(
            """
            set -e; truncate -s \(size) \(raw); echo 'start=2048, type=83' | sfdisk -q \(raw)
            mke2fs -q -F -t ext4 -b 4096 \(options) -E offset=1048576 \(raw) $(( ($(stat -c %s \(raw)) - 1048576) / 4096 ))
            qemu-img convert -O vdi \(raw) \(folder.file("disk.vdi"))
            """)
        return DiskImage(path: folder.file("disk.vdi"), format: .vdi)
    }

    private func extract(_ image: DiskImage) async throws -> HostPath {
        let raw = folder.file("partition.raw")
        _ = try await shell(
            """
            set -e; rm -f \(raw); qemu-img convert -O raw \(image.path) \(raw).disk
            tail -c +1048577 \(raw).disk > \(raw); rm \(raw).disk
            """)
        return raw
    }

    private func hash(_ image: DiskImage) async throws -> String { try await shell("sha256sum \(image.path)") }

    @Test func aCommittedFileIsThereAfterwardsAndAnUncommittedOneIsNot() async throws {
        let image = try await makeVDI()
        _ = try await shell("head -c 20000000 /dev/urandom > \(folder.file("big"))")
        let session = try await access.open(image, .readWrite)
        #expect(try await session.volumes().map(\.id) == ["p1"])
        let filesystem = try await session.filesystem(on: "p1")
        let writable = try #require(filesystem.writable)
        _ = try await writable.copyIn(folder.file("big"), to: "/big", options: CopyInOptions(), progress: .none)
        try await writable.makeDirectory("/a/b/c", parents: true)
        try await session.commit()
        _ = try await writable.copyIn(folder.file("big"), to: "/lost", options: CopyInOptions(), progress: .none)
        try await writable.remove("/a", recursive: true)
        try await session.close()
        let raw = try await extract(image)
        try await fsck(raw)
        #expect(try await shell("debugfs -R 'cat /big' \(raw) | cmp - \(folder.file("big")) && echo same") == "same\n")
        #expect(try await shell("debugfs -R 'ls -p /' \(raw)").contains("/lost/") == false)
        #expect(try await shell("debugfs -R 'stat /a/b/c' \(raw)").contains("directory"))
    }

    @Test func closingWithoutACommitLeavesEveryByteOfTheImage() async throws {
        let image = try await makeVDI()
        let before = try await hash(image)
        let session = try await access.open(image, .readWrite)
        let writable = try #require(try await session.filesystem(on: "p1").writable)
        try await writable.makeDirectory("/x", parents: false)
        try await writable.symlink("/x/link", target: "/etc/passwd")
        try await session.close()
        #expect(try await hash(image) == before)
        #expect(HostFiles.names(in: folder.path).filter { $0.contains("redo") } == [])
    }

    @Test(arguments: ["needs_recovery", "errors", "unclean"])
    func aFileSystemThatWasNotLeftCleanlyIsRefusedUntouched(state: String) async throws {
        let image = try await makeImage(folder, "16M")
        let command =
            switch state {
            case "needs_recovery": "feature needs_recovery"
            case "errors": "ssv state 3"
            default: "ssv state 0"
            }
        _ = try await shell("debugfs -w -R '\(command)' \(image)")
        let disk = DiskImage(path: image, format: .raw)
        let before = try await hash(disk)
        let session = try await access.open(disk, .readWrite)
        let error = await #expect(throws: BackendError.self) { try await session.filesystem(on: .whole) }
        #expect(error?.code == .corrupt)
        try await session.close()
        #expect(try await hash(disk) == before)
    }

    @Test func aFullFileSystemRefusesATreeBeforeItChangesAnything() async throws {
        let image = try await makeImage(folder, "8M")
        _ = try await shell("head -c 30000000 /dev/urandom > \(folder.file("big"))")
        let session = try await access.open(DiskImage(path: image, format: .raw), .readWrite)
        let writable = try #require(try await session.filesystem(on: .whole).writable)
        let error = await #expect(throws: BackendError.self) {
            try await writable.copyIn(folder.file("big"), to: "/big", options: CopyInOptions(), progress: .none)
        }
        #expect(error?.code == .noSpace)
        try await writable.makeDirectory("/still", parents: false)
        try await session.commit()
        try await session.close()
        try await fsck(image)
    }
}
