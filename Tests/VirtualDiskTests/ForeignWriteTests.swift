import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Images of QEMU's formats, written.
@Suite struct ForeignWriteTests {
    private let scratch: Scratch

    init() throws { scratch = try Scratch(inMemory: true) }

    /// Stages and writes at odd places; says what the content then is.
    private func change(_ transaction: DiskTransaction, _ content: [UInt8], seed: UInt8) throws -> [UInt8] {
        var content = content
        for (offset, count) in [(100, 5_000), (3 << 20, 70_000), (5 << 20, 1 << 20), (9_000_001, 300_000)] {
            let bytes = pattern(count, seed: seed)
            try transaction.write(at: Int64(offset), bytes: bytes)
            content.replaceSubrange(offset..<offset + count, with: bytes)
        }
        let fresh = pattern(2 << 20, seed: seed &+ 9)
        try fresh.withUnsafeBytes { try transaction.writeFresh(at: 6 << 20, from: $0) }
        content.replaceSubrange(6 << 20..<8 << 20, with: fresh)
        return content
    }

    @Test(arguments: ForeignKind.writable)
    func `QEMU reads what we committed, twice, and finds nothing wrong`(_ kind: ForeignKind) async throws {
        var content = foreignContent()
        let image = try await kind.make(scratch, from: scratch.file(content))
        let names = scratch.names()
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            for seed in [40, 50] as [UInt8] {
                let transaction = try disk.begin()
                content = try change(transaction, content, seed: seed)
                #expect(try transaction.bytes(at: 0, count: content.count) == content)
                try transaction.commit()
                #expect(try disk.content.bytes(at: 0, count: content.count) == content)
            }
        }
        #expect(scratch.names() == names)
        #expect(try scratch.readByUs(image) == content)
        #expect(try await scratch.readByQEMU(image) == content)
        try await checkByQEMU(image)
    }

    @Test func `a delta of VirtualBox takes a change, and its parent none`() async throws {
        let image = try await Fixtures.image("diff.vmdk").unpacked(in: scratch)
        let parent = try HostFiles.read(scratch.path("sparse.vmdk"))
        var content = try scratch.readByUs(image)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            for (offset, count) in [(1_100_000, 9), (2 << 20, 200_000), (7_340_000, 70_000)] {
                let bytes = pattern(count, seed: 7)
                try transaction.write(at: Int64(offset), bytes: bytes)
                content.replaceSubrange(offset..<offset + count, with: bytes)
            }
            try transaction.commit()
        }
        #expect(try scratch.readByUs(image) == content)
        #expect(try HostFiles.read(scratch.path("sparse.vmdk")) == parent)
        #expect(scratch.names() == ["diff.vmdk", "sparse.vmdk"])
    }

    @Test func `the layers below stay as they are, and so does an internal snapshot`() async throws {
        let content = foreignContent()
        let layer = try await ForeignKind.qcow2OverQCOW2.make(scratch, from: scratch.file(content))
        let base = try HostFiles.read(scratch.path("base.qcow2"))
        let image = try await ForeignKind.qcow2WithSnapshot.make(scratch, from: scratch.file(content), "snapped")
        for image in [layer, image] {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            _ = try change(transaction, content, seed: 60)
            try transaction.commit()
        }
        #expect(try HostFiles.read(scratch.path("base.qcow2")) == base)
        _ = try await Tool.check("qemu-img", ["snapshot", "-a", "before", image.path.string])
        #expect(try await scratch.readByQEMU(image) == content)
    }

    @Test(arguments: [ForeignKind.qcow2, .vmdkSparse, .vmdkDelta])
    func `what is not committed never happened`(_ kind: ForeignKind) async throws {
        let content = foreignContent()
        let image = try await kind.make(scratch, from: scratch.file(content))
        let names = scratch.names()
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 0, bytes: pattern(1 << 20, seed: 70))
            try pattern(1 << 20, seed: 71).withUnsafeBytes { try transaction.writeFresh(at: 4 << 20, from: $0) }
        }
        var now = try scratch.readByUs(image)
        // Fresh data lies where the committed state has nothing.
        now.replaceSubrange(4 << 20..<5 << 20, with: content[4 << 20..<5 << 20])
        #expect(now == content)
        #expect(scratch.names() == names)
        try await checkByQEMU(image)
    }

    @Test func `new images are made empty, over a parent, and of a raw file`() async throws {
        let content = foreignContent()
        let base = DiskImage(path: scratch.path("base.qcow2"), format: .qcow2)
        try VirtualDisk.importRaw(scratch.file(content), as: base)
        #expect(try await scratch.readByQEMU(base) == content)
        let layer = DiskImage(path: scratch.path("layer.qcow2"), format: .qcow2)
        try VirtualDisk.create(layer, over: base)
        #expect(try scratch.readByUs(layer) == content)
        let empty = DiskImage(path: scratch.path("empty.qcow2"), format: .qcow2)
        try VirtualDisk.create(empty, size: .mib(64))
        #expect(try VirtualDisk.open(empty, .readOnly).content.size == 64 << 20)
        let error = #expect(throws: BackendError.self) { try VirtualDisk.create(layer, over: base) }
        #expect(error?.code == .alreadyExists)
        #expect(scratch.names() == ["base.qcow2", "empty.qcow2", "layer.qcow2", "source.raw"])
    }
}
