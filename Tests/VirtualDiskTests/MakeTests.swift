import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// New images, export, import, and what they leave.
@Suite struct MakeTests {
    private func allocated(_ path: HostPath) -> Int64 {
        var info = stat()
        return stat(path.string, &info) == 0 ? Int64(info.st_blocks) * 512 : -1
    }

    @Test func `export keeps holes, and so does import`() throws {
        let scratch = try Scratch()
        let image = try scratch.vdi(64 << 20)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 33 << 20 + 70_000, bytes: pattern(1_000, seed: 1))
            try transaction.commit()
        }
        let raw = scratch.path("out.raw")
        try VirtualDisk.open(image, .readOnly).export(to: raw)
        #expect(HostFiles.size(raw) == 64 << 20)
        #expect(allocated(raw) <= 128 << 10)
        let again = DiskImage(path: scratch.path("again.vdi"), format: .vdi)
        try VirtualDisk.importRaw(raw, as: again)
        #expect(try #require(HostFiles.size(again.path)) <= 4 << 20)
        #expect(
            try VirtualDisk.open(again, .readOnly).content.bytes(at: 33 << 20 + 70_000, count: 1_000)
                == pattern(1_000, seed: 1))
    }

    @Test func `nothing is replaced, and a failure leaves nothing`() throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        var error = #expect(throws: BackendError.self) { try VirtualDisk.create(image, size: .mib(1)) }
        #expect(error?.code == .alreadyExists)
        error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readOnly).export(to: image.path) }
        #expect(error?.code == .alreadyExists)
        let odd = scratch.path("odd")
        try HostFiles.write(pattern(1_000, seed: 1), to: odd)
        error = #expect(throws: BackendError.self) {
            try VirtualDisk.importRaw(odd, as: DiskImage(path: scratch.path("new.vdi"), format: .vdi))
        }
        #expect(error?.code == .invalidArgument)
        error = #expect(throws: BackendError.self) {
            try VirtualDisk.create(DiskImage(path: scratch.path("new"), format: .vhdx), size: .mib(1))
        }
        #expect(error?.code == .unsupported)
        #expect(scratch.names() == ["disk.raw", "odd"])
    }

    @Test(arguments: [false, true])
    func `qemu-img accepts a new image`(_ fixed: Bool) async throws {
        let scratch = try Scratch()
        let image = try scratch.vdi((5 << 20) + 512, fixed: fixed)
        let outcome = try await Tool.check("qemu-img", ["info", "-f", "vdi", "--output=json", image.path.string])
        #expect(outcome.text.contains("\"virtual-size\": \((5 << 20) + 512)"))
        _ = try await Tool.check("qemu-img", ["check", "-f", "vdi", image.path.string])
    }

    @Test(arguments: ["dynamic.vdi", "fixed.vdi", "chain-layer1.vdi"])
    func `a new VDI has VirtualBox's own header, but for texts and uuids`(_ name: String) async throws {
        let scratch = try Scratch()
        let fixture = Fixtures.image(name)
        let theirs = try await fixture.unpacked(in: scratch)
        let ours = DiskImage(path: scratch.path("ours.vdi"), format: .vdi)
        if let parent = fixture.parents.last {
            try VirtualDisk.create(ours, over: theirs.at(scratch.path(parent)), size: nil)
        } else {
            try VirtualDisk.create(ours, size: .mib(8), fixed: name == "fixed.vdi")
        }
        func numbers(_ image: DiskImage) throws -> [UInt8] {
            var header = Array(try HostFiles.read(image.path).prefix(0x200))
            // The two texts; how many blocks the fixture happens to have; the uuids.
            for range in [0..<0x40, 0x54..<0x154, 0x184..<0x1c8] {
                header.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
            }
            return header
        }
        #expect(try numbers(ours) == numbers(theirs))
    }

    @Test func `a format is told by the name and confirmed by the header`() async throws {
        let scratch = try Scratch()
        #expect(try VirtualDisk.detectFormat(scratch.raw().path) == .raw)
        #expect(try VirtualDisk.detectFormat(scratch.vdi().path) == .vdi)
        #expect(try VirtualDisk.detectFormat(scratch.vdi(1 << 20, "unnamed").path) == .vdi)
        let vmdk = scratch.path("disk.vmdk")
        _ = try await Tool.check("qemu-img", ["create", "-q", "-f", "vmdk", vmdk.string, "1M"])
        #expect(try VirtualDisk.detectFormat(vmdk) == .vmdk)
        let error = #expect(throws: BackendError.self) {
            try VirtualDisk.open(DiskImage(path: vmdk, format: "vmdx"), .readOnly)
        }
        #expect(error?.code == .unsupported)
    }

    @Test func `a name and a header that disagree are refused, and so is content alone as raw`() throws {
        let scratch = try Scratch()
        for path in [try scratch.vdi(1 << 20, "lie.img").path, try scratch.raw(1 << 20, "disk").path] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.detectFormat(path) }
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.contains("--format") == true)
        }
    }

    @Test func `a pipe is refused instead of waited for`() throws {
        let scratch = try Scratch()
        #expect(mkfifo(scratch.path("pipe").string, 0o600) == 0)
        let error = #expect(throws: BackendError.self) {
            try VirtualDisk.open(DiskImage(path: scratch.path("pipe"), format: .raw), .readOnly)
        }
        #expect(error?.code == .invalidArgument)
    }

    @Test func `a missing image is not found`() throws {
        let scratch = try Scratch()
        let image = DiskImage(path: scratch.path("none"), format: .raw)
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .notFound)
        }
    }
}
