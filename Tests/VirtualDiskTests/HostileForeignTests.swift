import Abstractions
import Host
import Testing

@testable import VirtualDisk

/// Images that name what they must not, or say what cannot be: refused by us, before QEMU sees them.
@Suite struct HostileForeignTests {
    private let scratch: Scratch

    init() throws { scratch = try Scratch(inMemory: true) }

    private func bigEndian(_ value: UInt64, _ count: Int) -> [UInt8] { littleEndian(value)[..<count].reversed() }

    /// An empty qcow2 image whose header says this about its backing file.
    private func qcow2(
        _ name: String = "disk.qcow2", backing: String? = nil, format: String? = "raw", incompatible: UInt64 = 0
    ) throws -> DiskImage {
        let image = DiskImage(path: scratch.path(name), format: .qcow2)
        try VirtualDisk.create(image, size: .mib(1))
        var bytes = try HostFiles.read(image.path)
        bytes.replaceSubrange(72..<80, with: bigEndian(incompatible, 8))
        if let backing {
            var extensions: [UInt8] = []
            if let format {
                extensions = bigEndian(0xe279_2aca, 4) + bigEndian(UInt64(format.utf8.count), 4) + format.utf8
                extensions += [UInt8](repeating: 0, count: (8 - extensions.count % 8) % 8)
            }
            extensions += [UInt8](repeating: 0, count: 8)
            let place = Int(bytes.big32(100))
            bytes.replaceSubrange(place..<place + extensions.count, with: extensions)
            bytes.replaceSubrange(2048..<2048 + backing.utf8.count, with: backing.utf8)
            bytes.replaceSubrange(8..<20, with: bigEndian(2048, 8) + bigEndian(UInt64(backing.utf8.count), 4))
        }
        try HostFiles.write(bytes, to: image.path)
        return image
    }

    private func refusal(
        _ image: DiskImage, _ code: BackendError.Code, sourceLocation: SourceLocation = #_sourceLocation
    ) -> String {
        var message = ""
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self, sourceLocation: sourceLocation) {
                try VirtualDisk.open(image, mode)
            }
            #expect(error?.code == code, "\(String(describing: error))", sourceLocation: sourceLocation)
            // What QEMU says is quoted with its name.
            #expect(error?.message.contains("QEMU cannot") == false, sourceLocation: sourceLocation)
            message = error?.message ?? ""
        }
        return message
    }

    @Test(arguments: [
        #"json:{"driver":"file","filename":"/etc/passwd"}"#, "nbd://127.0.0.1/x", "nbd:unix:/tmp/x", "ssh://host/disk",
        "fat:/etc", "blkdebug::/etc/passwd", "http://127.0.0.1/x.raw", "disk.raw:stream", "..", "/", "base.raw/..",
    ])
    func `a backing file that is no file's name is not followed`(_ name: String) throws {
        #expect(refusal(try qcow2(backing: name), .unsupported).contains("is not followed"))
    }

    @Test(arguments: ["/etc/passwd", "../../../../etc/passwd", "/dev/sda", "passwd"])
    func `a backing file elsewhere is not found, even when it is there`(_ name: String) throws {
        #expect(refusal(try qcow2(backing: name), .notFound).contains(scratch.folder.string))
    }

    @Test func `a link beside the image is not followed`() async throws {
        _ = try await Tool.check("ln", ["-s", "/etc/passwd", scratch.path("base.raw").string])
        _ = refusal(try qcow2(backing: "base.raw"), .notFound)
        _ = try await Tool.check("mkfifo", [scratch.path("pipe.raw").string])
        _ = refusal(try qcow2("second.qcow2", backing: "pipe.raw"), .notFound)
    }

    @Test func `a chain that comes back to itself or has no end is corrupt`() throws {
        let image = try qcow2(backing: "disk.qcow2", format: "qcow2")
        #expect(refusal(image, .corrupt).contains("twice"))
        for number in 0..<70 { _ = try qcow2("d\(number).qcow2", backing: "d\(number + 1).qcow2", format: "qcow2") }
        let deep = DiskImage(path: scratch.path("d0.qcow2"), format: .qcow2)
        #expect(refusal(deep, .corrupt).contains("64 layers"))
    }

    @Test func `a backing file whose format is not said is not guessed`() throws {
        _ = try scratch.file([1, 2, 3], "base.raw")
        #expect(refusal(try qcow2(backing: "base.raw", format: nil), .unsupported).contains("rebase"))
        #expect(refusal(try qcow2("other.qcow2", backing: "base.raw", format: "nfs"), .unsupported).contains("nfs"))
    }

    @Test func `data in another file and encryption are refused by name`() throws {
        #expect(refusal(try qcow2(incompatible: 4), .unsupported).contains("another file"))
        let image = try qcow2("secret.qcow2")
        var bytes = try HostFiles.read(image.path)
        bytes[35] = 2
        try HostFiles.write(bytes, to: image.path)
        #expect(refusal(image, .unsupported).contains("encrypted"))
    }

    // MARK: - VMDK

    private func descriptor(_ extents: String, type: String = "monolithicFlat", _ name: String = "disk.vmdk") throws
        -> DiskImage
    {
        let text =
            "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"\(type)\"\n\(extents)\n"
        return DiskImage(path: try scratch.file(Array(text.utf8), name), format: .vmdk)
    }

    @Test(arguments: [
        ("RW 8 FLAT \"/etc/passwd\" 0", BackendError.Code.unsupported), ("RW 8 FLAT \"../x\" 0", .unsupported),
        ("RW 8 FLAT \"nbd:x\" 0", .unsupported), ("RW 8 FLAT \"missing\" 0", .notFound),
        ("RW 8 FLAT \"link\" 0", .notFound), ("RW 999 FLAT \"part\" 0", .corrupt), ("RW 8 FLAT \"part\" 99", .corrupt),
        ("RW 8 ZERO", .corrupt), ("RDONLY 8 FLAT \"part\" 0", .corrupt), ("RW\n8 FLAT \"/etc/passwd\" 0", .corrupt),
        ("RW -8 FLAT \"part\" 0", .corrupt), ("RW 8 FLAT \"part\r\" 0", .corrupt), ("", .unsupported),
        ("RW 9223372036854775807 FLAT \"part\" 0", .corrupt), ("RW 8 SPARSE \"part\"", .corrupt),
        ("RW 8 VMFSRDM \"part\" 0", .unsupported),
    ])
    func `a part that is not a whole file beside the descriptor is refused`(_ line: String, _ code: BackendError.Code)
        async throws
    {
        _ = try scratch.file([UInt8](repeating: 0, count: 4096), "part")
        _ = try await Tool.check("ln", ["-s", "/etc/passwd", scratch.path("link").string])
        _ = refusal(try descriptor(line), code)
    }

    @Test func `a sparse part that is a descriptor in disguise is refused`() async throws {
        let source = try scratch.file([UInt8](repeating: 1, count: 1 << 20))
        let image = try await ForeignKind.vmdkSplit.make(scratch, from: source)
        let part = try #require(scratch.names().first { $0.contains("-s001") })
        var bytes = try HostFiles.read(scratch.path(part))
        bytes.replaceSubrange(12..<20, with: littleEndian(0 as UInt64))
        try HostFiles.write(bytes, to: scratch.path(part))
        #expect(refusal(image, .corrupt).contains("capacity"))
        #expect(refusal(DiskImage(path: source, format: .vmdk), .corrupt).contains("neither"))
    }

    @Test func `a part of a split image is told from the image`() async throws {
        _ = try await ForeignKind.vmdkSplit.make(scratch, from: scratch.file([UInt8](repeating: 1, count: 1 << 20)))
        let part = try #require(scratch.names().first { $0.contains("-s001") })
        #expect(refusal(DiskImage(path: scratch.path(part), format: .vmdk), .unsupported).contains("split"))
    }

    @Test(arguments: [ForeignKind.qcow2, .qcow2Old, .vmdkSparse, .vmdkStream, .vmdkSplit, .vmdkFlat, .vhdx])
    func `an image that is cut off is corrupt, or reads as before when the end was padding`(_ kind: ForeignKind)
        async throws
    {
        var random = pattern(6 << 20, seed: 1)
        // Pages that differ, so that nothing shrinks to nothing.
        for page in stride(from: 0, to: random.count, by: 16) { random[page] = .random(in: 0...255) }
        let (content, image) = (random, try await kind.make(scratch, from: scratch.file(random)))
        var refused = 0
        let part = scratch.names().first { $0.contains("-s001") || $0.contains("-flat") } ?? image.path.name
        let whole = try HostFiles.read(scratch.path(part))
        for eighths in 1...7 {
            try HostFiles.write(Array(whole[..<(whole.count / 8 * eighths)]), to: scratch.path(part))
            do {
                // The end of a file may be padding.
                #expect(try scratch.readByUs(image) == content, "\(eighths)/8")
            } catch let error as BackendError {
                #expect(error.code == .corrupt, "\(eighths)/8: \(error)")
                refused += 1
            }
        }
        #expect(refused >= 5, "\(refused) of 7 were refused")
    }

    @Test func `a cluster that is counted behind the end, but not used, is no damage`() async throws {
        let content = pattern(1 << 20, seed: 1)
        let image = try await ForeignKind.qcow2.make(scratch, from: scratch.file(content))
        var bytes = try HostFiles.read(image.path)
        let counts = Int(bytes.big64(Int(bytes.big64(48))))
        bytes.replaceSubrange(counts + 2 * 100..<counts + 2 * 100 + 2, with: [0, 1])
        try HostFiles.write(bytes, to: image.path)
        #expect(try scratch.readByUs(image) == content)
    }

    @Test(arguments: [ForeignKind.qcow2, .vmdkSparse, .vmdkSplit, .vhdx])
    func `an image with random bytes in its head opens or is refused`(_ kind: ForeignKind) async throws {
        let image = try await kind.make(scratch, from: scratch.file(pattern(1 << 20, seed: 1)))
        let whole = try HostFiles.read(image.path)
        for _ in 0..<200 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...6) {
                bytes[Int.random(in: 0..<min(1024, bytes.count))] =
                    [0, 1, 0xff, .random(in: 0...255)].randomElement() ?? 0
            }
            try HostFiles.write(bytes, to: image.path)
            do {
                // The part that is ours; QEMU is started only for what passes it.
                _ = try ForeignPlan.make(image)
            } catch let error as BackendError {
                #expect([.corrupt, .unsupported, .notFound].contains(error.code), "\(error)")
            }
        }
    }
}
