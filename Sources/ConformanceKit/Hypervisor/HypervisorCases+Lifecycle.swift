import Abstractions
import Host

extension HypervisorCases {
    static let lookup = [
        state("lookup", "a machine is found by its name, in its state") { context in
            _ = try await context.running()
            let found = try required(try await context.backend.machine(context.name("1")), "the machine")
            try expectEqual(found.id, context.name("1"), "id")
            try await context.expectState(found, .running, "of what was found")
        },
        state("lookup", "what was found drives the same machine") { context in
            let machine = try await context.machine()
            let found = try required(try await context.backend.machine(machine.id), "the machine")
            try await found.start()
            try await context.expectState(machine, .running, "of the first handle")
            try await machine.stop(.force)
            try await context.expectState(found, .stopped, "of the second handle")
        },
        state("lookup", "a name that nobody has is nil") { context in
            try expect(try await context.backend.machine(context.name("none")) == nil, "something was found")
        },
        state("lookup", "a listing has every state and is sorted by name") { context in
            for suffix in ["c", "a", "B", "b"] { _ = try await context.machine(suffix) }
            try await required(try await context.backend.machine(context.name("a")), "a").start()
            let stopped = try required(try await context.backend.machine(context.name("c")), "c")
            try await stopped.start()
            try await stopped.stop(.force)
            let seen = try await context.backend.machines(ownedBy: context.owner)
            let wanted: [(String, MachineState)] = [
                ("B", .defined), ("a", .running), ("b", .defined), ("c", .stopped),
            ]
            try expectEqual(
                seen, wanted.map { MachineSummary(id: context.name($0.0), state: $0.1) }, "machines")
        },
        state("lookup", "a listing has only machines that carry the mark") { context in
            _ = try await context.machine("in-1")
            _ = try await context.machine("out-1")
            let inside = OwnerTag(context.owner.rawValue + "in-")
            try expectEqual(
                try await context.backend.machines(ownedBy: inside).map(\.id), [context.name("in-1")], "machines")
            let nobody = OwnerTag(context.owner.rawValue + "nobody-")
            try expectEqual(try await context.backend.machines(ownedBy: nobody), [], "machines of nobody")
        },
        state("lookup", "many questions at once are all answered") { context in
            let machine = try await context.running()
            let backend = context.backend
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        try expectEqual(try await machine.state(), .running, "state")
                        try expectEqual(try await backend.machines(ownedBy: context.owner).count, 1, "machines")
                        try expect(try await backend.machine(machine.id) != nil, "the machine was not found")
                    }
                }
                try await group.waitForAll()
            }
        },
    ]

    static let lifecycle = [
        state("lifecycle", "start takes a machine from defined to running") { context in
            try await context.expectState(try await context.running(), .running, "after start")
        },
        state("lifecycle", "start of a running machine is invalidState, and it goes on running") { context in
            let machine = try await context.running()
            try await expectError(.invalidState, from: "start") { try await machine.start() }
            try await context.expectState(machine, .running, "afterwards")
        },
        state("lifecycle", "of many starts at once exactly one goes well") { context in
            let machine = try await context.machine()
            let started = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<5 { group.addTask { (try? await machine.start()) != nil } }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            try expectEqual(started, 1, "starts that went well")
            try await context.expectState(machine, .running, "afterwards")
        },
        state("lifecycle", "a forced stop returns when the machine is stopped") { context in
            let machine = try await context.running()
            try await machine.stop(.force)
            try await context.expectState(machine, .stopped, "after stop")
        },
        state("lifecycle", "a forced stop of a defined or stopped machine does nothing") { context in
            let machine = try await context.machine()
            try await machine.stop(.force)
            try await context.expectState(machine, .defined, "after a stop of a defined machine")
            try await machine.start()
            for _ in 0..<2 {
                try await machine.stop(.force)
                try await context.expectState(machine, .stopped, "after stop")
            }
        },
        state("lifecycle", "a graceful stop forces after its time") { context in
            let machine = try await context.running()
            let clock = ContinuousClock()
            let time = try await clock.measure { try await machine.stop(.graceful(within: .milliseconds(300))) }
            try await context.expectState(machine, .stopped, "after stop")
            try expect(time < .seconds(20), "it took \(time.inSeconds) s")
        },
        state("lifecycle", "a stopped machine starts again, and again") { context in
            let machine = try await context.machine()
            for round in 1...3 {
                try await machine.start()
                try await context.expectState(machine, .running, "after start \(round)")
                try await machine.stop(.force)
                try await context.expectState(machine, .stopped, "after stop \(round)")
            }
        },
        state("lifecycle", "several machines run at once, and one stop stops one") { context in
            let first = try await context.running("1")
            let second = try await context.running("2")
            try await first.stop(.force)
            try await context.expectState(first, .stopped, "of the first")
            try await context.expectState(second, .running, "of the second")
        },
        state("lifecycle", "several machines start and stop at once") { context in
            var machines: [any Machine] = []
            for number in 1...3 { machines.append(try await context.machine("\(number)")) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for machine in machines {
                    group.addTask {
                        try await machine.start()
                        try await machine.stop(.force)
                        try await machine.destroy()
                    }
                }
                try await group.waitForAll()
            }
            try expectEqual(try await context.backend.machines(ownedBy: context.owner), [], "machines")
        },
    ]

    static let destroy = [
        state("destroy", "a machine can be destroyed when it is defined, running or stopped") { context in
            for suffix in ["defined", "running", "stopped"] {
                let machine = try await context.machine(suffix)
                if suffix != "defined" { try await machine.start() }
                if suffix == "stopped" { try await machine.stop(.force) }
                try await machine.destroy()
                try await context.expectState(machine, .gone, "of a \(suffix) machine after destroy")
            }
            try expectEqual(try await context.backend.machines(ownedBy: context.owner), [], "machines")
        },
        state("destroy", "destroy is idempotent, through every handle") { context in
            let machine = try await context.running()
            let other = try required(try await context.backend.machine(machine.id), "the machine")
            try await machine.destroy()
            try await machine.destroy()
            try await other.destroy()
            try await context.expectState(other, .gone, "of the other handle")
        },
        state("destroy", "many destroys at once all go well") { context in
            let machine = try await context.running()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<4 { group.addTask { try await machine.destroy() } }
                try await group.waitForAll()
            }
            try await context.expectState(machine, .gone, "afterwards")
        },
        state("destroy", "a destroyed machine is neither found nor listed") { context in
            let machine = try await context.machine()
            try await machine.destroy()
            try expect(try await context.backend.machine(machine.id) == nil, "it was found")
            try expectEqual(try await context.backend.machines(ownedBy: context.owner), [], "machines")
        },
        state("destroy", "everything but state and destroy of a destroyed machine is notFound") { context in
            let machine = try await context.machine()
            try await machine.destroy()
            try await expectError(.notFound, from: "start") { try await machine.start() }
            try await expectError(.notFound, from: "stop") { try await machine.stop(.force) }
            try await context.expectState(machine, .gone, "afterwards")
        },
        state("destroy", "facets of a destroyed machine are notFound") { context in
            let machine = try await context.running()
            let (console, pause, snapshots) = (machine.console, machine.pause, machine.snapshots)
            try await machine.destroy()
            if let console {
                try await expectError(.notFound, from: "console") { try await console.read(offset: 0, count: 1) }
            }
            if let pause { try await expectError(.notFound, from: "pause") { try await pause.pause() } }
            if let snapshots { try await expectError(.notFound, from: "snapshots") { try await snapshots.list() } }
        },
        state("destroy", "images stay, byte for byte where no guest wrote") { context in
            let spec = try await context.spec()
            let before = try HostFiles.read(spec.disks[0].image.path)
            let machine = try await context.backend.create(spec)
            try await machine.start()
            try await machine.destroy()
            for disk in spec.disks { try expect(HostFiles.exists(disk.image.path), "\(disk.image.path) is gone") }
            try expect(try HostFiles.read(spec.disks[0].image.path) == before, "the system disk has changed")
        },
        state("destroy", "its name and its disks are free for the next machine") { context in
            let spec = try await context.spec()
            for _ in 0..<3 {
                let machine = try await context.backend.create(spec)
                try await machine.start()
                try await machine.destroy()
            }
        },
        state("destroy", "no file is left beside those that the spec names") { context in
            let spec = try await context.spec()
            let before = HostFiles.names(in: context.folder)
            let machine = try await context.backend.create(spec)
            try await machine.start()
            try await machine.destroy()
            try expectEqual(HostFiles.names(in: context.folder), before, "files")
        },
    ]

    static let events = [
        state("events", "start and stop are told, in order") { context in
            let machine = try await context.machine()
            let log = EventLog(machine)
            try await machine.start()
            try await log.wait(for: .state(.running))
            try await machine.stop(.force)
            try await log.wait(for: .state(.stopped))
            let states = log.events.compactMap { event -> MachineState? in
                if case .state(let state) = event { state } else { nil }
            }
            try expectEqual(states.filter { $0 == .running || $0 == .stopped }, [.running, .stopped], "states told")
        },
        state("events", "a stream ends with gone when the machine is destroyed") { context in
            let machine = try await context.machine()
            let log = EventLog(machine)
            try await machine.start()
            try await log.wait(for: .state(.running))
            try await machine.destroy()
            try await log.waitForEnd()
            try expectEqual(log.events.last, .gone, "the last event")
            try expectEqual(log.events.filter { $0 == .gone }.count, 1, "times that gone was told")
        },
        state("events", "every stream is told the same") { context in
            let machine = try await context.machine()
            let logs = (0..<3).map { _ in EventLog(machine) }
            try await machine.start()
            for log in logs { try await log.wait(for: .state(.running)) }
            try await machine.destroy()
            for log in logs {
                try await log.waitForEnd()
                try expectEqual(log.events, logs[0].events, "events")
            }
        },
        state("events", "a stream starts with the next event") { context in
            let machine = try await context.running()
            try await machine.stop(.force)
            let log = EventLog(machine)
            try await machine.destroy()
            try await log.waitForEnd()
            try expect(!log.events.contains(.state(.running)), "an old event was told: \(log.events)")
            try expectEqual(log.events.last, .gone, "the last event")
        },
        state("events", "a stream of a destroyed machine ends at once") { context in
            let machine = try await context.machine()
            try await machine.destroy()
            let log = EventLog(machine)
            try await log.waitForEnd()
        },
        state("events", "what another handle does is told too") { context in
            let machine = try await context.machine()
            let log = EventLog(machine)
            let other = try required(try await context.backend.machine(machine.id), "the machine")
            try await other.start()
            try await log.wait(for: .state(.running))
            try await other.destroy()
            try await log.waitForEnd()
        },
        state("events", "one machine's stream tells nothing of another machine") { context in
            let first = try await context.machine("1")
            let log = EventLog(first)
            let second = try await context.running("2")
            try await second.destroy()
            try await first.destroy()
            try await log.waitForEnd()
            try expectEqual(log.events, [.gone], "events")
        },
    ]
}
