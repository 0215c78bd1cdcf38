import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Where parents are found, and which are refused.
@Suite struct ParentTests {
    private static let size: Int64 = 128 << 10

    private func committing(_ image: DiskImage, _ byte: UInt8) throws {
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        try transaction.write(at: 0, bytes: [byte])
        try transaction.commit()
    }

    private func firstByte(_ image: DiskImage) throws -> UInt8 {
        try VirtualDisk.open(image, .readOnly).content.bytes(at: 0, count: 1)[0]
    }

    /// A base with a byte of its own and a layer over it.
    private func pair(_ scratch: Scratch, _ base: String, _ layer: String) throws -> (base: DiskImage, layer: DiskImage)
    {
        for name in [base, layer] { try HostFiles.makeDirectories(scratch.path(name).parent) }
        let below = try scratch.smallVDI(Self.size, base)
        try committing(below, 7)
        return (below, try scratch.smallVDI(Self.size, layer, over: below))
    }

    @Test(arguments: [
        ("base.vdi", "layer.vdi"), ("vm/base.vdi", "vm/Snapshots/layer.vdi"), ("vm/Snapshots/base.vdi", "vm/layer.vdi"),
    ])
    func `a parent is found beside the layer, in its Snapshots, and up from there`(_ base: String, _ layer: String)
        throws
    {
        let scratch = try Scratch(inMemory: true)
        #expect(try firstByte(pair(scratch, base, layer).layer) == 7)
    }

    @Test func `a missing parent is named with the folders, and found in a folder that is given`() throws {
        let scratch = try Scratch(inMemory: true)
        var (base, layer) = try pair(scratch, "elsewhere/base.vdi", "vm/layer.vdi")
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(layer, .readOnly) }
        #expect(error?.code == .notFound)
        let links = try #require(try VDILayout.links(of: PosixFile(base.path, O_RDONLY)))
        for part in ["\(links.uuid)", scratch.path("vm").string, "layer.vdi", "--parent-folder"] {
            #expect(error?.message.contains(part) == true, "\(part) is not in: \(error?.message ?? "")")
        }
        layer.parentFolders = [scratch.path("elsewhere")]
        #expect(try firstByte(layer) == 7)
        base.path = scratch.path("elsewhere/Snapshots/base.vdi")
        try HostFiles.makeDirectories(base.path.parent)
        #expect(rename(scratch.path("elsewhere/base.vdi").string, base.path.string) == 0)
        #expect(try firstByte(layer) == 7)
    }

    /// Writes to a parent out of its layer's sight.
    private func change(_ base: DiskImage, below layer: DiskImage, _ scratch: Scratch) throws {
        try HostFiles.makeDirectories(scratch.path("away"))
        #expect(rename(layer.path.string, scratch.path("away/layer").string) == 0)
        try committing(base, 8)
        #expect(rename(scratch.path("away/layer").string, layer.path.string) == 0)
    }

    @Test func `a parent that was changed since is a doubt that names both`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "base.vdi", "layer.vdi")
        #expect(try VirtualDisk.open(layer, .readOnly).doubts == [])
        try change(base, below: layer, scratch)
        let doubts = try VirtualDisk.open(layer, .readOnly).doubts
        #expect(doubts.count == 1)
        #expect(doubts.first?.contains("base.vdi") == true && doubts.first?.contains("layer.vdi") == true)
    }

    @Test func `a layer that VirtualBox gave another parent when it merged a snapshot is read and written`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, middle) = try pair(scratch, "base.vdi", "middle.vdi")
        try committing(middle, 9)
        let leaf = try scratch.smallVDI(Self.size, "leaf.vdi", over: middle)
        // As it does: the parent's uuid is a new one, the parent's modification stays that of the layer that is gone.
        let links = try #require(try VDILayout.links(of: PosixFile(base.path, O_RDONLY)))
        try PosixFile(leaf.path, O_RDWR).write(at: 0x1a8, bytes: links.uuid.bytes)
        try HostFiles.removeTree(middle.path)
        #expect(try firstByte(leaf) == 7)
        try committing(leaf, 10)
        #expect(try firstByte(leaf) == 10)
        #expect(try firstByte(base) == 7)
    }

    @Test func `of two images with the parent's uuid of which none fits, none is taken, and both are named`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "base.vdi", "layer.vdi")
        try change(base, below: layer, scratch)
        try HostFiles.write(HostFiles.read(base.path), to: scratch.path("copy.vdi"))
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(layer, .readOnly) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("base.vdi") == true && error?.message.contains("copy.vdi") == true)
    }

    @Test func `of two images with the parent's uuid the one that fits is taken`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "b.vdi", "vm/layer.vdi")
        try HostFiles.write(HostFiles.read(base.path), to: scratch.path("vm/b.vdi"))
        try HostFiles.makeDirectories(scratch.path("other"))
        try HostFiles.write(HostFiles.read(base.path), to: scratch.path("other/a.vdi"))
        try committing(DiskImage(path: scratch.path("other/a.vdi"), format: .vdi), 8)
        #expect(rename(scratch.path("other/a.vdi").string, scratch.path("vm/a.vdi").string) == 0)
        #expect(try firstByte(layer) == 7)
    }

    @Test func `a loop of layers is corrupt`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "base.vdi", "layer.vdi")
        var bytes = try HostFiles.read(base.path)
        let links = try #require(try VDILayout.links(of: PosixFile(layer.path, O_RDONLY)))
        bytes[0x4c] = 4
        bytes.replaceSubrange(0x1a8..<0x1b8, with: links.uuid.bytes)
        try HostFiles.write(bytes, to: base.path)
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(layer, .readOnly) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("loop") == true)
    }

    @Test func `256 layers are read and 257 are corrupt`() throws {
        let scratch = try Scratch(inMemory: true)
        var top = try scratch.smallVDI(Self.size, "0.vdi")
        try committing(top, 7)
        for number in 1..<VirtualDisk.mostLayers { top = try scratch.smallVDI(Self.size, "\(number).vdi", over: top) }
        #expect(try firstByte(top) == 7)
        let error = #expect(throws: BackendError.self) {
            try VirtualDisk.open(try scratch.smallVDI(Self.size, "more.vdi", over: top), .readOnly)
        }
        #expect(error?.code == .corrupt)
    }

    @Test func `a layer with a child is not written to, and the child is named`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "vm/base.vdi", "vm/Snapshots/layer.vdi")
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(base, .readWrite) }
        #expect(error?.code == .invalidState)
        #expect(error?.message.contains("Snapshots/layer.vdi") == true)
        #expect(try firstByte(base) == 7)
        try committing(layer, 9)
        #expect(try firstByte(layer) == 9)
        #expect(try firstByte(base) == 7)
    }

    @Test func `a parent is locked while a layer is open, and refused while somebody writes to it`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "base.vdi", "layer.vdi")
        do {
            let file = try PosixFile(base.path, O_RDWR)
            let disk = try VirtualDisk.open(layer, .readWrite)
            #expect(throws: BackendError.self) { try ImageLock.take(file, .readWrite) }
            withExtendedLifetime(disk) {}
        }
        let file = try PosixFile(base.path, O_RDWR)
        try ImageLock.take(file, .readWrite)
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(layer, .readOnly) }
        #expect(error?.code == .inUse)
        #expect(error?.message.contains("base.vdi") == true)
        withExtendedLifetime(file) {}
    }

    @Test func `a parent is read through the log that lies beside it, and left alone`() throws {
        let scratch = try Scratch(inMemory: true)
        let base = try scratch.smallVDI(Self.size, "base.vdi")
        try committing(base, 7)
        let before = try HostFiles.read(base.path)
        let log = RedoLog.path(of: base.path)
        for calls in 0..<100 where !HostFiles.exists(log) {
            let transaction = try FragileHost(.death, after: calls).open(base).begin()
            try? transaction.write(at: 0, bytes: [8])
            try? transaction.commit()
            for name in scratch.names() where name.contains(".redo.") { try HostFiles.removeTree(scratch.path(name)) }
        }
        let logBytes = try HostFiles.read(log)
        try VirtualDisk.recover(base)
        let layer = try scratch.smallVDI(Self.size, "layer.vdi", over: base)
        try HostFiles.write(before, to: base.path)
        try HostFiles.write(logBytes, to: log)
        #expect(try firstByte(layer) == 8)
        #expect(try HostFiles.read(base.path) == before)
        #expect(HostFiles.exists(log))
    }

    @Test func `a layer that is made is as large as its parent and reads as it does`() throws {
        let scratch = try Scratch(inMemory: true)
        let base = try scratch.vdi(3 << 20, "base.vdi")
        try committing(base, 7)
        let layer = DiskImage(path: scratch.path("layer.vdi"), format: .vdi)
        try VirtualDisk.create(layer, over: base)
        let disk = try VirtualDisk.open(layer, .readOnly)
        #expect(disk.content.size == 3 << 20)
        #expect(try disk.content.bytes(at: 0, count: 1) == [7])
        var error = #expect(throws: BackendError.self) {
            try VirtualDisk.create(layer.at(scratch.path("small.vdi")), over: base, size: .mib(1))
        }
        #expect(error?.code == .invalidArgument)
        error = #expect(throws: BackendError.self) {
            try VirtualDisk.create(DiskImage(path: scratch.path("layer.raw"), format: .raw), over: base)
        }
        #expect(error?.code == .unsupported)
        #expect(scratch.names() == ["base.vdi", "layer.vdi"])
    }

    @Test func `the tree shows every layer around an image, and each is found by its name, file and uuid`() throws {
        let scratch = try Scratch(inMemory: true)
        let (base, layer) = try pair(scratch, "vm/base.vdi", "vm/Snapshots/a.vdi")
        let other = try scratch.smallVDI(Self.size, "vm/Snapshots/b.vdi", over: base)
        let top = try scratch.smallVDI(Self.size, "vm/Snapshots/c.vdi", over: other)
        let stranger = try scratch.smallVDI(Self.size, "vm/stranger.vdi")
        func text(_ tree: LayerTree) -> String {
            let children = tree.children.map { text($0) }.joined(separator: " ")
            return tree.path.name + (tree.isImage ? "*" : "") + (children.isEmpty ? "" : "(\(children))")
        }
        let trees = try [base, layer, top].map { try text(VirtualDisk.open($0, .readOnly).tree()) }
        #expect(
            trees == [
                "base.vdi*(a.vdi b.vdi(c.vdi))", "base.vdi(a.vdi* b.vdi(c.vdi))", "base.vdi(a.vdi b.vdi(c.vdi*))",
            ])
        let uuid = try #require(try VDILayout.links(of: PosixFile(top.path, O_RDONLY))).uuid
        for name in ["c.vdi", top.path.string, "{\(uuid)}"] {
            #expect(try VirtualDisk.layer(name, of: layer).path == top.path)
        }
        var error = #expect(throws: BackendError.self) { try VirtualDisk.layer("d.vdi", of: base) }
        #expect(error?.code == .notFound)
        error = #expect(throws: BackendError.self) { try VirtualDisk.layer(stranger.path.string, of: base) }
        #expect(error?.code == .invalidArgument)
    }

    @Test func `a VHD's path to its parent is not followed, but a name of any ending is found beside it`() throws {
        let scratch = try Scratch(inMemory: true)
        for folder in ["elsewhere", "vm"] { try HostFiles.makeDirectories(scratch.path(folder)) }
        let base = try scratch.smallVHD(Self.size, "elsewhere/base.disk")
        try committing(base, 7)
        let layer = try scratch.smallVHD(Self.size, "vm/layer.vhd", over: base)
        #expect(
            try VHD.links(of: PosixFile(layer.path, O_RDONLY))?.parent?.names.contains("../elsewhere/base.disk") == true
        )
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(layer, .readOnly) }
        #expect(error?.code == .notFound)
        #expect(rename(base.path.string, scratch.path("vm/base.disk").string) == 0)
        #expect(try firstByte(layer) == 7)
        // The name alone is nothing: the uuid must be the parent's.
        try HostFiles.removeTree(scratch.path("vm/base.disk"))
        _ = try scratch.smallVHD(Self.size, "vm/base.disk")
        #expect(throws: BackendError.self) { try VirtualDisk.open(layer, .readOnly) }
    }
}
