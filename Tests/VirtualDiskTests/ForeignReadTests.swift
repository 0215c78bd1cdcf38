import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Images of QEMU's formats, read.
@Suite struct ForeignReadTests {
    private let scratch: Scratch

    init() throws { scratch = try Scratch(inMemory: true) }

    @Test(arguments: ForeignKind.allCases)
    func `an image exports as what it was made of, and leaves nothing`(_ kind: ForeignKind) async throws {
        let content = foreignContent()
        let image = try await kind.make(scratch, from: scratch.file(content))
        #expect(try VirtualDisk.detectFormat(image.path) == kind.format)
        let names = scratch.names()
        let bytes = try HostFiles.read(image.path)
        try VirtualDisk.open(image, .readOnly).export(to: scratch.path("out"))
        #expect(try HostFiles.read(scratch.path("out")) == content)
        #expect(try HostFiles.read(image.path) == bytes)
        #expect(scratch.names() == (names + ["out"]).sorted())
    }

    @Test func `what the formats need is found`() {
        let finding = VirtualDisk.foreignFinding()
        #expect(finding.status == .good, "\(finding)")
    }

    @Test func `what is known to be zero is not read`() async throws {
        let image = try await ForeignKind.qcow2.make(scratch, from: scratch.file(foreignContent()))
        let file = try VirtualDisk.open(image, .readOnly).file
        #expect(try file.hole(at: 3 << 20, count: 9 << 20) == 6 << 20)
        #expect(try file.hole(at: 0, count: 1 << 20) == 0)
    }

    @Test func `a backing file is found beside the image, in Snapshots and in a folder that is named, wherever it was`()
        async throws
    {
        let content = foreignContent()
        let made = try await ForeignKind.qcow2OverRaw.make(scratch, from: scratch.file(content))
        _ = try await Tool.check(
            "qemu-img", ["rebase", "-u", "-F", "raw", "-b", "/nowhere/else/base.raw", made.path.string])
        #expect(try scratch.readByUs(made) == content)
        for (folder, parents) in [("Snapshots", nil), ("elsewhere", [scratch.path("elsewhere")])]
            as [(String, [HostPath]?)]
        {
            let place = scratch.path(folder)
            try HostFiles.makeDirectories(place, mode: 0o755)
            _ = try await Tool.check("mv", [scratch.path("base.raw").string, place.string])
            let image = DiskImage(path: made.path, format: .qcow2, parentFolders: parents)
            #expect(try scratch.readByUs(image) == content)
            _ = try await Tool.check("mv", [place.appending("base.raw").string, scratch.folder.string])
        }
    }

    @Test func `a stream-optimised VMDK may call itself read-only, as VirtualBox's does`() async throws {
        let content = foreignContent()
        let image = try await ForeignKind.vmdkStream.make(scratch, from: scratch.file(content))
        let file = try PosixFile(image.path, O_RDWR)
        let place = try #require(try VMDKSparseHeader(file).descriptor)
        let text = String(
            decoding: try file.bytes(at: place.lowerBound, count: Int(place.upperBound - place.lowerBound)),
            as: UTF8.self)
        let changed = text.replacing("RW ", with: "RDONLY ")
        #expect(changed != text)
        try file.write(at: place.lowerBound, bytes: Array(changed.utf8.prefix(text.utf8.count)))
        #expect(try scratch.readByUs(image) == content)
    }

    @Test func `a delta whose parent was changed is refused`() async throws {
        let image = try await ForeignKind.vmdkDelta.make(scratch, from: scratch.file(foreignContent()))
        let base = DiskImage(path: scratch.path("base.vmdk"), format: .vmdk)
        _ = try await Tool.check("qemu-io", ["-f", "vmdk", "-c", "write 0 512", base.path.string])
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readOnly) }
        #expect(error?.code == .notFound)
        #expect(error?.message.contains("CID") == true)
    }

    @Test func `a snapshot inside the image reads as it was, and cannot be written`() async throws {
        let content = foreignContent()
        var image = try await ForeignKind.qcow2WithSnapshot.make(scratch, from: scratch.file(content))
        _ = try await Tool.check("qemu-io", ["-f", "qcow2", "-c", "write -P 9 0 4M", image.path.string])
        #expect(try scratch.readByUs(image) != content)
        image.snapshot = "before"
        #expect(try scratch.readByUs(image) == content)
        var error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readWrite) }
        #expect(error?.code == .unsupported)
        image.snapshot = "nothing, really"
        error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readOnly) }
        #expect(error?.code == .notFound)
        error = #expect(throws: BackendError.self) {
            try VirtualDisk.open(DiskImage(path: image.path, format: .raw, snapshot: "before"), .readOnly)
        }
        #expect(error?.code == .unsupported)
    }

    @Test(arguments: [ForeignKind.qcow2OverRaw, .vmdkDelta])
    func `the chain is shown as a tree`(_ kind: ForeignKind) async throws {
        let image = try await kind.make(scratch, from: scratch.file(foreignContent()))
        let tree = try VirtualDisk.open(image, .readOnly).tree()
        #expect(tree.path.name.hasPrefix("base."))
        #expect(!tree.isImage)
        #expect(tree.children.map(\.path) == [image.path])
        #expect(tree.children.first?.size == .mib(12))
    }

    @Test func `two may read at once`() async throws {
        let image = try await ForeignKind.qcow2.make(scratch, from: scratch.file(foreignContent()))
        let first = try VirtualDisk.open(image, .readOnly)
        #expect(try VirtualDisk.open(image, .readOnly).content.bytes(at: 0, count: 9) == pattern(9, seed: 1))
        withExtendedLifetime(first) {}
    }

    @Test(arguments: [ForeignKind.vmdkStream, .vhdx])
    func `what QEMU cannot write safely is refused for writing, with the way`(_ kind: ForeignKind) async throws {
        let image = try await kind.make(scratch, from: scratch.file(foreignContent()))
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readWrite) }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("export") == true)
    }
}
