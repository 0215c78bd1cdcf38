import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Against tools that are not ours: qemu-img, QEMU's locks, and images that VirtualBox wrote.
@Suite struct InteroperabilityTests {
    private func sha256(_ path: HostPath) async throws -> String {
        String(try await Tool.check("sha256sum", [path.string]).text.prefix(64))
    }

    @Test(arguments: [false, true])
    func `qemu-img reads what we wrote`(_ fixed: Bool) async throws {
        let scratch = try Scratch()
        let image = try scratch.vdi(16 << 20, fixed: fixed)
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            // The blocks are given out in another order than they lie on the disk.
            for index in [9, 2, 14, 3] as [Int64] {
                let transaction = try disk.begin()
                try transaction.write(at: index << 20 + 4_321, bytes: pattern(700_000, seed: UInt8(index)))
                try transaction.commit()
            }
        }
        try VirtualDisk.open(image, .readOnly).export(to: scratch.path("ours.raw"))
        let theirs = scratch.path("theirs.raw")
        _ = try await Tool.check("qemu-img", ["convert", "-f", "vdi", "-O", "raw", image.path.string, theirs.string])
        #expect(try await sha256(scratch.path("ours.raw")) == sha256(theirs))
        _ = try await Tool.check("qemu-img", ["check", "-f", "vdi", image.path.string])
    }

    @Test func `we read what qemu-img wrote`() async throws {
        let scratch = try Scratch()
        let source = scratch.path("source.raw")
        try HostFiles.write(
            pattern(2 << 20, seed: 1) + [UInt8](repeating: 0, count: 5 << 20) + pattern(1 << 20, seed: 2), to: source)
        let image = DiskImage(path: scratch.path("theirs.vdi"), format: .vdi)
        _ = try await Tool.check("qemu-img", ["convert", "-f", "raw", "-O", "vdi", source.string, image.path.string])
        try VirtualDisk.open(image, .readOnly).export(to: scratch.path("ours.raw"))
        #expect(try await sha256(scratch.path("ours.raw")) == sha256(source))
    }

    @Test func `an image that QEMU has open is refused and left alone`() async throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        let socket = scratch.path("nbd")
        let daemon = try ChildProcess(
            try #require(HostEnvironment.program("qemu-storage-daemon")),
            [
                "--blockdev", "driver=file,node-name=disk,filename=\(image.path)",
                "--nbd-server", "addr.type=unix,addr.path=\(socket)",
                "--export", "type=nbd,id=disk,node-name=disk,writable=on",
                "--pidfile", scratch.path("pid").string,
            ], environment: HostEnvironment.all, output: .null, errors: .null)
        defer {
            daemon.signal(SIGKILL)
            _ = daemon.wait()
        }
        // The pid file is written when the export is up.
        while !HostFiles.exists(scratch.path("pid")) { await Task.yield() }
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .inUse)
            #expect(error?.message.contains("qemu-storage") == true, "the holder is not named: \(error?.message ?? "")")
        }
    }

    @Test(arguments: [AccessMode.readOnly, .readWrite])
    func `QEMU may not write an image that we have open`(_ mode: AccessMode) async throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        let disk = try VirtualDisk.open(image, mode)
        let outcome = try await Tool.run("qemu-io", ["-f", "raw", "-c", "write 0 512", image.path.string])
        #expect(outcome.exit != .exited(0))
        #expect(try disk.content.bytes(at: 0, count: 512) == [UInt8](repeating: 0, count: 512))
    }

    @Test func `QEMU may read an image that we read`() async throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        let disk = try VirtualDisk.open(image, .readOnly)
        _ = try await Tool.check("qemu-io", ["-r", "-f", "raw", "-c", "read 0 512", image.path.string])
        withExtendedLifetime(disk) {}
    }

    @Test func `an image in a running QEMU machine is refused, and readable once it is gone`() async throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        let machine = try ChildProcess(
            try #require(HostEnvironment.program("qemu-system-x86_64")),
            [
                "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "16", "-S",
                "-drive", "file=\(image.path),format=raw,if=virtio",
            ], environment: HostEnvironment.all, output: .null, errors: .null)
        var isOver = false
        defer {
            if !isOver {
                machine.signal(SIGKILL)
                _ = machine.wait()
            }
        }
        // Its pid file comes before its locks.
        let number = try await Tool.check("stat", ["-c", ":%i", image.path.string]).text
            .split(separator: "\n")[0]
        while try !HostFiles.readText("/proc/locks").contains("\(number) ") { await Task.yield() }
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readWrite) }
        #expect(error?.code == .inUse)
        #expect(error?.message.contains("process \(machine.pid)") == true, "\(error?.message ?? "")")
        machine.signal(SIGKILL)
        _ = machine.wait()
        isOver = true
        _ = try VirtualDisk.open(image, .readWrite)
    }

    @Test(arguments: [false, true])
    func `qemu-img reads the VHD that we wrote`(_ fixed: Bool) async throws {
        let scratch = try Scratch()
        let image = DiskImage(path: scratch.path("ours.vhd"), format: .vhd)
        try VirtualDisk.create(image, size: ByteCount(19 << 20 + 512), fixed: fixed)
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            for index in [9, 2, 18, 3] as [Int64] {
                let transaction = try disk.begin()
                try transaction.write(at: index << 20 + 4_321, bytes: pattern(700_000, seed: UInt8(index)))
                try transaction.commit()
            }
        }
        try VirtualDisk.open(image, .readOnly).export(to: scratch.path("ours.raw"))
        let theirs = scratch.path("theirs.raw")
        for source in [
            ["-f", "vpc", image.path.string],
            ["--image-opts", "driver=vpc,force_size_calc=current_size,file.filename=\(image.path)"],
        ] {
            _ = try await Tool.check("qemu-img", ["convert", "-O", "raw"] + source + [theirs.string])
            #expect(try await sha256(scratch.path("ours.raw")) == sha256(theirs))
        }
    }

    @Test(arguments: ["dynamic", "fixed"])
    func `we read and change the VHD that qemu-img wrote`(_ kind: String) async throws {
        let scratch = try Scratch()
        let source = scratch.path("source.raw")
        var content = pattern(2 << 20, seed: 1) + [UInt8](repeating: 0, count: 5 << 20) + pattern(1 << 20, seed: 2)
        try HostFiles.write(content, to: source)
        let image = DiskImage(path: scratch.path("theirs.vhd"), format: .vhd)
        _ = try await Tool.check(
            "qemu-img",
            [
                "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=\(kind),force_size=on", source.string,
                image.path.string,
            ])
        #expect(try VirtualDisk.detectFormat(image.path) == .vhd)
        #expect(try VirtualDisk.open(image, .readOnly).content.bytes(at: 0, count: content.count) == content)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 4 << 20, bytes: pattern(100_000, seed: 3))
            try transaction.commit()
        }
        content.replaceSubrange(4 << 20..<4 << 20 + 100_000, with: pattern(100_000, seed: 3))
        try HostFiles.write(content, to: source)
        _ = try await Tool.check("qemu-img", ["compare", "-f", "raw", "-F", "vpc", source.string, image.path.string])
    }

    @Test(arguments: Fixtures.images)
    func `an image that VirtualBox wrote reads as its manifest says`(_ fixture: Fixtures.Image) async throws {
        let scratch = try Scratch()
        let image = try await fixture.unpacked(in: scratch)
        let before = try HostFiles.read(image.path)
        try VirtualDisk.open(image, .readOnly).export(to: scratch.path("out.raw"))
        #expect(try await sha256(scratch.path("out.raw")) == fixture.sha256)
        let disk = try VirtualDisk.open(image, .readOnly)
        #expect(disk.content.size == 8 << 20)
        let volumes = try disk.content.volumes()
        #expect(volumes.map(\.id) == [.partition(1)])
        #expect(volumes.first?.offset == ByteCount(1_048_576))
        #expect(volumes.first?.label == "FIXBASE")
        #expect(try HostFiles.read(image.path) == before)
    }

    @Test func `the block maps of a chain of VirtualBox are read as they are`() async throws {
        let scratch = try Scratch()
        let image = try await Fixtures.image("chain-layer2.vdi").unpacked(in: scratch)
        let disk = try VirtualDisk.open(image, .readOnly)
        let free = VDILayout.askParent
        let layer = [free, 0, free, free, free, free, free, 1]
        let maps = ([disk.layout] + disk.parents.map(\.layout)).map { ($0 as? VDILayout)?.map }
        #expect(maps == [layer, layer, [0, 1] + [UInt32](repeating: VDILayout.zero, count: 6)])
        #expect(disk.parents.map(\.path.name) == ["chain-layer1.vdi", "chain-base.vdi"])
    }
}
