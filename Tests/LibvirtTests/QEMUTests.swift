import Abstractions
import BackendSupport
import Host
import Testing

@testable import LibvirtBackend

#if canImport(Glibc)
    import Glibc
#endif

/// Why no machine can be run here; nil when one can.
let obstacle: String? = {
    if HostEnvironment.program("qemu-system-x86_64") == nil { return "qemu-system-x86 is not installed" }
    if geteuid() == 0 && getpwnam("libvirt-qemu") == nil { return "the user libvirt-qemu does not exist" }
    return nil
}()

@Suite("QEMU by the embedded driver", .serialized, .enabled(if: obstacle == nil, "make setup installs what is missing"))
struct QEMUTests {
    @Test("a guest runs, speaks on the console, powers itself off, and runs again")
    func lifecycle() async throws {
        try await TestBench.run(.qemu) { bench in
            let disk = bench.folder.appending("proof.raw")
            try HostFiles.write(ProofSector.disk, to: disk)
            let machine = try await bench.backend.create(bench.spec([disk]))
            for round in 1...2 {
                let events = machine.events()
                try await machine.start()
                #expect(await wait(for: .state(.stopped), in: events))
                #expect(try await machine.state() == .stopped)
                let text = try await machine.console?.read(offset: 0, count: 4096) ?? []
                #expect(text.split(separator: 10).count == round)
            }
            try await machine.destroy()
            #expect(try await machine.state() == .gone)
            #expect(HostFiles.exists(disk))
        }
    }

    @Test("the mini guest reads the IO disk, answers and counts")
    func ioDisk() async throws {
        try await TestBench.run(.qemu) { bench in
            let root = HostPath(#filePath).parent.parent.parent
            let image = bench.folder.appending("mini")
            try HostFiles.makeDirectories(image)
            _ = try await Tool.check("sh", [root.appending("guest/images/mini/build.sh").string, image.string])
            let io = try bench.disk("io.raw", code: Array("what is up".utf8))
            let machine = try await bench.backend.create(bench.spec([image.appending("disk.raw"), io]))
            for _ in 1...2 {
                let events = machine.events()
                try await machine.start()
                #expect(await wait(for: .state(.stopped), in: events))
            }
            let bytes = try HostFiles.read(io)
            #expect(bytes[512...].starts(with: "anyvisor-mini-answer:what is up".utf8))
            #expect(bytes[1024] == 2)
            try await machine.destroy()
        }
    }

    @Test("a QEMU that is killed is a crash, a stop settles it, and the machine starts again")
    func killed() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, process) = try await hanging(bench)
            let events = machine.events()
            process.signal(SIGKILL)
            #expect(await wait(for: .state(.crashed), in: events))
            #expect(try await machine.state() == .crashed)
            await #expect {
                try await machine.start()
            } throws: {
                ($0 as? BackendError)?.code == .invalidState
            }
            try await machine.stop(.force)
            #expect(try await machine.state() == .stopped)
            try await machine.start()
            try await machine.destroy()
        }
    }

    @Test("a QEMU that stands still is gone within three seconds, also behind a call that hangs")
    func stopped() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, process) = try await hanging(bench)
            process.signal(SIGSTOP)
            await #expect {
                try await CallDeadline.$current.withValue(.now + .milliseconds(200)) {
                    _ = try await machine.statistics?.sample()
                }
            } throws: {
                ($0 as? BackendError)?.code == .timeout
            }
            let begin = ContinuousClock.now
            try await machine.stop(.force)
            #expect(ContinuousClock.now - begin < .seconds(3))
            #expect(try await machine.state() == .stopped)
            #expect(!process.isAlive)
            try await machine.destroy()
        }
    }

    @Test("a guest that resets ends, and does not run twice")
    func reset() async throws {
        try await TestBench.run(.qemu) { bench in
            let machine = try await bench.backend.create(bench.spec([try bench.disk("a", code: Sector.reset)]))
            let events = machine.events()
            try await machine.start()
            #expect(await wait(for: .state(.stopped), in: events))
            try await machine.destroy()
        }
    }

    @Test("pause, statistics and a graceful stop that has to be forced")
    func facets() async throws {
        try await TestBench.run(.qemu) { bench in
            let (machine, _) = try await hanging(bench)
            let sample = try await machine.statistics?.sample()
            #expect((sample?.cpuNanoseconds ?? 0) > 0 && (sample?.memory?.bytes ?? 0) > 1 << 20)
            #expect(sample?.diskRead != nil && sample?.diskWritten != nil)
            try await machine.pause?.pause()
            #expect(try await machine.state() == .paused)
            try await machine.pause?.resume()
            try await machine.stop(.graceful(within: .milliseconds(100)))
            #expect(try await machine.state() == .stopped)
            try await machine.destroy()
        }
    }

    @Test("a start that fails says why, and the machine is as before")
    func failedStart() async throws {
        try await TestBench.run(.qemu) { bench in
            var spec = bench.spec([try bench.disk("a", code: Sector.hang)])
            spec.disks[0].image.format = .qcow2
            let machine = try await bench.backend.create(spec)
            await #expect {
                try await machine.start()
            } throws: {
                let error = $0 as? BackendError
                return error?.native?.domain.hasPrefix("libvirt:") == true && error?.evidence["qemu.log"] != nil
            }
            #expect(try await machine.state() == .defined)
            try await machine.destroy()
        }
    }

    @Test("an image with an unfinished write beside it does not start")
    func redo() async throws {
        try await TestBench.run(.qemu) { bench in
            let disk = try bench.disk("a", code: Sector.hang)
            let machine = try await bench.backend.create(bench.spec([disk]))
            try HostFiles.write([1], to: HostPath("\(disk).redo"))
            await #expect {
                try await machine.start()
            } throws: {
                ($0 as? BackendError)?.code == .inUse
            }
            try await machine.destroy()
        }
    }

    /// A machine that runs and does nothing, with its QEMU.
    private func hanging(_ bench: TestBench) async throws -> (any Machine, ProcessIdentity) {
        let machine = try await bench.backend.create(bench.spec([try bench.disk("hang", code: Sector.hang)]))
        try await machine.start()
        let record = try #require((machine as? LibvirtMachine)?.record)
        return (machine, try #require(record.emulator))
    }
}
