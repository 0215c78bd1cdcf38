import Abstractions
import BackendSupport
import Host
import Testing

@testable import LibvirtBackend

@Suite(
    "snapshots inside qcow2 disks", .serialized, .enabled(if: obstacle == nil, "make setup installs what is missing"))
struct SnapshotTests {
    /// Prints A, waits 36 of the BIOS's ticks (two seconds), prints B and stands still.
    ///
    /// ```
    ///   xor ax,ax; mov ds,ax; mov ax,00e3h; xor dx,dx; int 14h; mov al,'A'; call put
    ///   mov bx,[046ch]; add bx,36
    ///   wait: sti; hlt; mov ax,[046ch]; sub ax,bx; js wait
    ///   mov al,'B'; call put
    ///   end: hlt; jmp end
    ///   put: mov ah,1; xor dx,dx; int 14h; ret
    /// ```
    private static let twoLetters: [UInt8] = [
        0x31, 0xc0, 0x8e, 0xd8, 0xb8, 0xe3, 0x00, 0x31, 0xd2, 0xcd, 0x14, 0xb0, 0x41, 0xe8, 0x19, 0x00,
        0x8b, 0x1e, 0x6c, 0x04, 0x83, 0xc3, 0x24, 0xfb, 0xf4, 0xa1, 0x6c, 0x04, 0x29, 0xd8, 0x78, 0xf7,
        0xb0, 0x42, 0xe8, 0x04, 0x00, 0xf4, 0xeb, 0xfd, 0x90, 0xb4, 0x01, 0x31, 0xd2, 0xcd, 0x14, 0xc3,
    ]

    /// A machine with a qcow2 system disk, which holds this code, and a raw IO disk.
    private func machine(_ bench: TestBench, code: [UInt8] = Sector.hang) async throws -> (any Machine, HostPath) {
        let raw = try bench.disk("system.raw", code: code)
        let system = bench.folder.appending("a, b.qcow2")
        _ = try await Tool.check("qemu-img", ["convert", "-O", "qcow2", raw.string, system.string])
        var spec = bench.spec([system, try bench.disk("io.raw", code: [])])
        spec.disks[0].image.format = .qcow2
        return (try await bench.backend.create(spec), system)
    }

    /// Fills 64 KiB of the disk of a machine that is off with one byte.
    private func write(_ byte: Int, at offset: String, _ disk: HostPath) async throws {
        _ = try await Tool.check("qemu-io", ["-f", "qcow2", "-c", "write -P \(byte) \(offset) 64k", disk.string])
    }

    private func reads(_ byte: Int, at offset: String, _ disk: HostPath) async throws -> Bool {
        let outcome = try await Tool.run(
            "qemu-io", ["-f", "qcow2", "-c", "read -P \(byte) \(offset) 64k", disk.string])
        return outcome.exit == .exited(0) && !outcome.text.contains("failed")
    }

    @Test("a restore takes the disk back, leaves the IO disk, and a destroyed machine leaves no snapshot behind")
    func disk() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, disk) = try await machine(bench)
            let snapshots = try #require(machine.snapshots)
            try await write(1, at: "512k", disk)
            try await snapshots.create("1", scope: .disk)
            try await write(2, at: "512k", disk)
            let io = bench.folder.appending("io.raw")
            try HostFiles.write([7] + HostFiles.read(io).dropFirst(), to: io)
            try await snapshots.restore("1")
            #expect(try await reads(1, at: "512k", disk))
            #expect(try HostFiles.read(io).first == 7)
            try await machine.destroy()
            #expect(try QCOW2Snapshots(disk).tags == [])
            #expect(try await reads(1, at: "512k", disk))
        }
    }

    @Test("a block that a restore left behind is found, as the backend's fault")
    func leftBehind() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, disk) = try await machine(bench)
            let snapshots = try #require(machine.snapshots)
            try await snapshots.create("a", scope: .disk)
            let tag = try #require(try QCOW2Snapshots(disk).tags.first)
            let stopped = StoppedSnapshots(files: [disk], operation: "test")
            try stopped.verify(tag)
            try await write(3, at: "512k", disk)
            #expect {
                try stopped.verify(tag)
            } throws: {
                let error = $0 as? BackendError
                return error?.code == .corrupt && error?.blame == .backend && error?.message.contains("1 part ") == true
            }
            try await machine.destroy()
        }
    }

    @Test("where snapshots are only of a machine that is off, one that runs is refused and goes on")
    func onlyWhenOff() async throws {
        var dialect = LibvirtDialect.qemu
        dialect.features.remove(.liveSnapshots)
        try await TestBench.run(dialect) { bench in
            let (machine, disk) = try await machine(bench, code: Self.twoLetters)
            let snapshots = try #require(machine.snapshots)
            try await snapshots.create("off", scope: .disk)
            try await machine.start()
            for scope in [SnapshotScope.disk, .diskAndMemory] {
                await #expect {
                    try await snapshots.create("on", scope: scope)
                } throws: {
                    let error = $0 as? BackendError
                    return error?.code == .invalidState && error?.message.contains("stop it before") == true
                }
            }
            await #expect(throws: BackendError.self) { try await snapshots.delete("off") }
            #expect(try await machine.state() == .running)
            try await machine.stop(.force)
            try await snapshots.restore("off")
            try await snapshots.delete("off")
            #expect(try QCOW2Snapshots(disk).tags == [])
            try await machine.destroy()
        }
    }

    @Test(
        "memory and disk of a running guest come back, running or from a machine that is off; a paused one stays paused"
    )
    func memory() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, _) = try await machine(bench, code: Self.twoLetters)
            let snapshots = try #require(machine.snapshots)
            let console = try #require(machine.console)
            func waitFor(_ text: String) async throws {
                try await eventually("the console shows \(text)") {
                    try await String(decoding: console.read(offset: 0, count: 64), as: UTF8.self) == text
                }
            }
            try await machine.start()
            try await waitFor("A")
            try await machine.pause?.pause()
            try await snapshots.create("early", scope: .diskAndMemory)
            try await machine.pause?.resume()
            try await snapshots.create("running", scope: .diskAndMemory)
            try await waitFor("AB")
            try await snapshots.restore("running")
            #expect(try await machine.state() == .running)
            try await waitFor("ABB")
            try await machine.stop(.force)
            try await snapshots.restore("early")
            #expect(try await machine.state() == .paused)
            try await machine.pause?.resume()
            try await waitFor("ABBB")
            #expect(try await snapshots.list().map(\.scope) == [.diskAndMemory, .diskAndMemory])
            try await machine.destroy()
        }
    }

    @Test("a process may open and close the embedded driver as often as it likes")
    func reopened() async throws {
        for _ in 0..<40 {
            try await TestBench.run(.qemu) { bench in
                let none = try await bench.backend.machines(ownedBy: "anyvisor-none-")
                #expect(none.isEmpty)
            }
        }
    }

    @Test("a raw disk holds no snapshot, and the remedy is named")
    func raw() async throws {
        try await TestBench.run(.qemu) { bench in
            let machine = try await bench.backend.create(bench.spec([try bench.disk("a.raw", code: Sector.hang)]))
            await #expect {
                try await machine.snapshots?.create("a", scope: .disk)
            } throws: {
                let error = $0 as? BackendError
                return error?.code == .unsupported && error?.message.contains("anyvisor disk create") == true
            }
            try await machine.destroy()
        }
    }

    @Test(
        "an image whose tables cannot be is corrupt, by name",
        arguments: [
            (20, [0, 0, 0, 63]), (24, [0xff] + [UInt8](repeating: 0xff, count: 7)), (36, [0xff, 0xff, 0xff, 0xff]),
            (40, [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), (60, [0xff, 0xff, 0xff, 0xff]),
            (64, [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0]),
        ] as [(Int, [UInt8])])
    func hostile(offset: Int, bytes: [UInt8]) async throws {
        try await TestBench.run(.qemu) { bench in
            let path = bench.folder.appending("odd.qcow2")
            _ = try await Tool.check("qemu-img", ["create", "-q", "-f", "qcow2", path.string, "8M"])
            _ = try await Tool.check("qemu-img", ["snapshot", "-c", "a", path.string])
            var image = try HostFiles.read(path)
            image.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            try HostFiles.write(image, to: path)
            #expect {
                _ = try QCOW2Snapshots(path).changedParts(since: "a")
            } throws: {
                let error = $0 as? BackendError
                return error?.code == .corrupt && error?.message.contains(path.string) == true
            }
        }
    }

    @Test("a snapshot that somebody else removed is notFound, and the disk stays as it is")
    func removed() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, disk) = try await machine(bench)
            let snapshots = try #require(machine.snapshots)
            try await snapshots.create("a", scope: .disk)
            try await write(5, at: "512k", disk)
            let tag = try #require(try QCOW2Snapshots(disk).tags.first)
            _ = try await Tool.check("qemu-img", ["snapshot", "-d", tag, disk.string])
            await #expect {
                try await snapshots.restore("a")
            } throws: {
                ($0 as? BackendError)?.code == .notFound
            }
            #expect(try await reads(5, at: "512k", disk))
            try await snapshots.delete("a")
            try await machine.destroy()
        }
    }
}

/// Waits until something holds.
private func eventually(_ what: String, _ holds: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(30)
    while try await !holds() {
        guard ContinuousClock.now < end else { throw BackendError(.timeout, "test", "\(what): never") }
        try await Task.sleep(for: .milliseconds(20))
    }
}
