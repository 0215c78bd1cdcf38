import Abstractions
import Host

extension HypervisorCases {
    /// Runs a guest to its own end.
    private static func run(_ machine: any Machine, _ context: HypervisorContext) async throws {
        try await machine.start()
        try await context.waitUntilStopped(machine)
    }

    /// Cases in which the `mini` guest does what guest/images/mini/mini.S says.
    static let guests = [
        state("guests", "a guest reads the IO disk, answers, and powers off", needs: [.executesGuests]) { context in
            let spec = try await context.spec(io: "what time is it?")
            try await run(try await context.backend.create(spec), context)
            let disk = try await context.fixture.read(spec.disks[1])
            try expectEqual(disk.answer, "anyvisor-mini-answer:what time is it?", "answer")
            try expectEqual(disk.counter, 1, "counter")
        },
        state("guests", "a guest boots from a CD when its disk boots nothing", needs: [.executesGuests]) { context in
            var spec = try await context.spec(io: "from a CD")
            let disk = spec.disks[0].image.path
            spec.disks[0] = try await context.fixture.systemDisk(at: disk, boots: false)
            spec.boot = .cdrom(try context.fixture.cd(at: context.folder.appending("mini.iso")))
            try await run(try await context.backend.create(spec), context)
            let answer = try await context.fixture.read(spec.disks[1]).answer
            try expectEqual(answer, "anyvisor-mini-answer:from a CD", "answer")
            try expect(HostFiles.exists(context.folder.appending("mini.iso")), "the CD is gone")
        },
        state("guests", "a power off is told as stopped, not as a crash", needs: [.executesGuests]) { context in
            let machine = try await context.machine(io: "go")
            let log = EventLog(machine)
            try await machine.start()
            try await context.waitUntilStopped(machine)
            try await log.wait(for: .state(.stopped))
            try expect(!log.events.contains(.state(.crashed)), "a crash was told: \(log.events)")
            try await context.expectState(machine, .stopped, "afterwards")
        },
        state("guests", "every start runs the guest once more on the same disk", needs: [.executesGuests]) { context in
            let spec = try await context.spec(io: "go")
            let machine = try await context.backend.create(spec)
            for round in 1...3 {
                try await run(machine, context)
                try expectEqual(try await context.fixture.read(spec.disks[1]).counter, UInt32(round), "counter")
            }
        },
        state("guests", "what the guest prints is in the console file", needs: [.executesGuests]) { context in
            let spec = try await context.spec(io: "print this", log: true)
            try await run(try await context.backend.create(spec), context)
            let log = try required(spec.consoleLog, "the console file")
            try await eventually("the guest's last line") { try HostFiles.readText(log).contains("mini: done") }
            let text = try HostFiles.readText(log)
            for part in ["mini: started", "print this"] {
                try expect(text.contains(part), "'\(part)' is not in: \(text)")
            }
        },
        state("guests", "what the guest prints is on the console facet", needs: [.executesGuests, .console]) {
            context in
            let machine = try await context.machine(io: "print that")
            try await run(machine, context)
            let console = try required(machine.console, "the console")
            try await eventually("the guest's last line") {
                String(decoding: try await console.read(offset: 0, count: 4_096), as: UTF8.self).contains("mini: done")
            }
            let text = String(decoding: try await console.read(offset: 0, count: 4_096), as: UTF8.self)
            try expect(text.contains("print that"), "console: \(text)")
        },
        state("guests", "a guest that never ends runs until it is forced", needs: [.executesGuests]) { context in
            let spec = try await context.spec(io: "HANG here")
            let machine = try await context.backend.create(spec)
            try await machine.start()
            try await eventually("the guest's answer", within: .seconds(60)) {
                try HostFiles.read(spec.disks[1].image.path).dropFirst(512).starts(with: Array("anyvisor".utf8))
                    || context.fixture.format != .raw
            }
            try await context.expectState(machine, .running, "of a guest that hangs")
            try await machine.stop(.force)
            try await context.expectState(machine, .stopped, "after stop")
            try expectEqual(
                try await context.fixture.read(spec.disks[1]).answer, "anyvisor-mini-answer:HANG here", "answer")
        },
        state(
            "guests", "a guest that does not listen is forced after the time of a graceful stop",
            needs: [.executesGuests]
        ) {
            context in
            let machine = try await context.running()
            let time = try await ContinuousClock().measure {
                try await machine.stop(.graceful(within: .milliseconds(700)))
            }
            try await context.expectState(machine, .stopped, "after stop")
            try expect(time < .seconds(20), "it took \(time.inSeconds) s")
        },
        state("guests", "two guests with their own disks do not meet", needs: [.executesGuests]) { context in
            let first = try await context.spec("1", io: "first")
            let second = try await context.spec("2", io: "second")
            let machines = [try await context.backend.create(first), try await context.backend.create(second)]
            for machine in machines { try await machine.start() }
            for machine in machines { try await context.waitUntilStopped(machine) }
            try expectEqual(
                try await context.fixture.read(first.disks[1]).answer, "anyvisor-mini-answer:first", "first")
            try expectEqual(
                try await context.fixture.read(second.disks[1]).answer, "anyvisor-mini-answer:second", "second")
        },
        state(
            "guests", "the system disk is as before when the guest wrote only to the IO disk", needs: [.executesGuests]
        ) {
            context in
            let spec = try await context.spec(io: "go")
            let before = try HostFiles.read(spec.disks[0].image.path)
            try await run(try await context.backend.create(spec), context)
            try expect(try HostFiles.read(spec.disks[0].image.path) == before, "the system disk has changed")
        },
        state("guests", "a paused guest goes on where it was", needs: [.executesGuests, .pause]) { context in
            let spec = try await context.spec(io: "go")
            let machine = try await context.backend.create(spec)
            try await machine.start()
            let pause = try required(machine.pause, "the pause facet")
            do {
                try await pause.pause()
                try await context.expectState(machine, .paused, "after pause")
                try await pause.resume()
            } catch let error as BackendError where error.code == .invalidState {
                // The guest was quicker than we: it has powered off.
            }
            try await context.waitUntilStopped(machine)
            try expectEqual(try await context.fixture.read(spec.disks[1]).counter, 1, "counter")
        },
        state("guests", "destroy of a running guest lets go of its disks", needs: [.executesGuests]) { context in
            let spec = try await context.spec(io: "HANG")
            let machine = try await context.backend.create(spec)
            try await machine.start()
            try await machine.destroy()
            for disk in spec.disks {
                try expect(!FileLock.isHeld(disk.image.path), "\(disk.image.path.name) is still locked")
            }
        },
    ]
}
