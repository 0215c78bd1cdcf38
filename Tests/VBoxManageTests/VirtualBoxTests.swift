import Abstractions
import BackendSupport
import Host
import Testing

@testable import VBoxManageBackend

#if canImport(Glibc)
    import Glibc
#endif

/// Machines of a real VirtualBox.
@Suite(
    "a real VirtualBox", .serialized,
    .enabled(if: HostEnvironment.program("VBoxManage") != nil, "VirtualBox is not installed"))
struct VirtualBoxTests {
    @Test("the proof runs a boot sector")
    func proof() async throws {
        try await MachineBench.run { bench in
            let findings = try await bench.backend.check(.proof)
            #expect(findings.last?.status == .good && findings.last?.subject == "boot sector")
        }
    }

    @Test("the console is that of all starts", arguments: [ImageFormat.raw, .vdi, .vhd, .vmdk])
    func console(format: ImageFormat) async throws {
        try await MachineBench.run { bench in
            let machine = try await bench.machine(1, try await bench.disk("sys", ProofSector.disk, format))
            for round in 1...2 {
                try await bench.runToEnd(machine)
                let text = String(
                    decoding: try await machine.console?.read(offset: 0, count: 4096) ?? [], as: UTF8.self)
                #expect(
                    text.split(separator: "\r\n").map(String.init) == .init(repeating: ProofSector.text, count: round))
            }
        }
    }

    @Test("a restore brings the system disk back and leaves the IO disk as it is; a merge keeps what the guest wrote")
    func snapshots() async throws {
        try await MachineBench.run { bench in
            let system = try await bench.disk("sys", MachineBench.counter)
            let io = try await bench.disk("io", [UInt8](repeating: 0, count: 1 << 20))
            let machine = try await bench.machine(1, system, io: io)
            let snapshots = try #require(machine.snapshots)
            try await snapshots.create("base", scope: .disk)
            try await bench.runToEnd(machine)
            try await bench.runToEnd(machine)
            // The system disk's own file is below the snapshot: the guest's writes are in the layer above.
            #expect(try bench.count(system) == 0)
            #expect(try bench.count(io) == 2)
            try await snapshots.restore("base")
            try await bench.runToEnd(machine)
            #expect(try bench.count(io) == 3)
            try await snapshots.delete("base")
            // Restored to 0, then one more run.
            #expect(try bench.count(system) == 1)
            #expect(HostFiles.names(in: bench.folderOf(machine).appending("Snapshots")) == [])
        }
    }

    @Test("a snapshot of a running machine gives its disks back without its memory")
    func running() async throws {
        try await MachineBench.run { bench in
            let machine = try await bench.machine(1, try await bench.disk("sys", MachineBench.hang))
            let snapshots = try #require(machine.snapshots)
            try await machine.start()
            try await snapshots.create("live", scope: .disk)
            #expect(try await machine.state() == .running)
            try await machine.stop(.force)
            try await snapshots.restore("live")
            #expect(try await machine.state() == .stopped)
            try await machine.start()
            #expect(try await machine.state() == .running)
            try await machine.stop(.force)
            try await snapshots.delete("live")
            #expect(HostFiles.names(in: bench.folderOf(machine).appending("Snapshots")) == [])
        }
    }

    @Test("a read-only disk keeps its content whatever the guest writes", arguments: [ImageFormat.raw, .vdi])
    func readOnly(format: ImageFormat) async throws {
        try await MachineBench.run { bench in
            let system = try await bench.disk("sys", MachineBench.counter, format)
            let before = DiskImage(path: bench.folder.appending("before"), format: format)
            try HostFiles.write(try HostFiles.read(system.path), to: before.path)
            let machine = try await bench.machine(1, system, readOnly: true)
            try await bench.runToEnd(machine)
            // VirtualBox completes the header of a VDI, so the content is compared.
            let same = try await Tool.run(
                "qemu-img",
                ["compare", "-f", format.rawValue, "-F", format.rawValue, before.path.string, system.path.string])
            #expect(same.exit == .exited(0), "\(same.text)")
        }
    }

    @Test("a disk that two machines have takes no snapshot, and the other machine is named")
    func twoMachines() async throws {
        try await MachineBench.run { bench in
            let system = try await bench.disk("sys", MachineBench.hang, .vdi)
            let first = try await bench.machine(1, system)
            let second = try await bench.machine(2, system)
            let error = await #expect(throws: BackendError.self) {
                try await first.snapshots?.create("a", scope: .disk)
            }
            #expect(error?.message.contains("attached to machine '\(second.id)' too") == true)
            try await second.destroy()
            try await first.snapshots?.create("a", scope: .disk)
        }
    }

    @Test("a machine whose process is killed has crashed; a stop settles it, and it starts again")
    func killed() async throws {
        try await MachineBench.run { bench in
            let machine = try await bench.machine(1, try await bench.disk("sys", MachineBench.hang))
            let events = machine.events()
            try await machine.start()
            let process = try #require(HeadlessProcess.find(bench.uuid(machine)))
            process.signal(SIGKILL)
            #expect(await MachineBench.wait(for: .state(.crashed), in: events))
            #expect(try await machine.state() == .crashed)
            try await machine.stop(.force)
            #expect(try await machine.state() == .stopped)
            try await machine.start()
            #expect(try await machine.state() == .running)
        }
    }

    @Test("a machine whose process was stopped is forced off, and destroyed")
    func wedged() async throws {
        try await MachineBench.run { bench in
            let machine = try await bench.machine(1, try await bench.disk("sys", MachineBench.hang))
            for _ in 1...2 {
                try await machine.start()
                try #require(HeadlessProcess.find(bench.uuid(machine))).signal(SIGSTOP)
                try await machine.stop(.force)
                #expect(try await machine.state() == .stopped)
            }
            try await machine.start()
            try #require(HeadlessProcess.find(bench.uuid(machine))).signal(SIGSTOP)
            // Who comes anew finds it as well, and takes it away.
            let other = VBoxManageHypervisor(bench.backend.options)
            let found = try #require(try await other.machine(machine.id))
            #expect(try await found.state() == .running)
            #expect(try await other.machines(ownedBy: OwnerTag(machine.id.rawValue)).map(\.state) == [.running])
            try await found.destroy()
            await other.close()
            #expect(try await machine.state() == .gone)
            #expect(HeadlessProcess.find(bench.uuid(machine)) == nil)
        }
    }

    @Test("a machine that somebody else removes is gone, also as an event")
    func removed() async throws {
        try await MachineBench.run { bench in
            let machine = try await bench.machine(1, try await bench.disk("sys", MachineBench.hang))
            let events = machine.events()
            try await bench.backend.tool("test", ["unregistervm", bench.uuid(machine)])
            #expect(try await machine.state() == .gone)
            #expect(await MachineBench.wait(for: .gone, in: events))
            let error = await #expect(throws: BackendError.self) { try await machine.start() }
            #expect(error?.code == .notFound)
        }
    }

    @Test("a create that fails leaves nothing on VirtualBox's lists and no file; a copy of a disk names its remedy")
    func failedCreate() async throws {
        try await MachineBench.run { bench in
            let system = try await bench.disk("sys", MachineBench.hang, .vdi)
            let first = try await bench.machine(1, system)
            let copy = DiskImage(path: bench.folder.appending("copy.vdi"), format: .vdi)
            try HostFiles.write(try HostFiles.read(system.path), to: copy.path)
            let before = HostFiles.names(in: bench.folder)
            let error = await #expect(throws: BackendError.self) { try await bench.machine(2, copy) }
            #expect(error?.code == .inUse && error?.message.contains("sethduuid") == true)
            #expect(try await bench.backend.list("test").count { $0.id == bench.name(2) } == 0)
            #expect(HostFiles.names(in: bench.folder) == before)
            try await first.destroy()
            _ = try await bench.machine(2, copy)
        }
    }
}
