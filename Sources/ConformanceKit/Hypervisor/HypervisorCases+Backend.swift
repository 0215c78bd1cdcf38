import Abstractions
import Host

extension HypervisorCases {
    static let backend = [
        state("backend", "info names the backend, its disk formats and its limits") { context in
            let info = context.info
            try expect(!info.name.isEmpty && !info.version.isEmpty, "name or version is empty")
            try expect(!info.diskFormats.isEmpty, "no disk formats")
            try expect(info.maximumCPUs >= 1, "at most \(info.maximumCPUs) cpus")
        },
        state("backend", "info says the same each time, also at once") { context in
            let backend = context.backend
            try await withThrowingTaskGroup(of: HypervisorInfo.self) { group in
                for _ in 0..<8 { group.addTask { try await backend.info() } }
                for try await info in group { try expectEqual(info, context.info, "info") }
            }
        },
        state("backend", "a presence check of a backend that works finds nothing bad") { context in
            let findings = try await context.backend.check(.presence)
            try expect(!findings.isEmpty, "no findings")
            for finding in findings {
                try expect(!finding.isObstacle, "\(finding.subject) is bad: \(finding.detail)")
                try expect(!finding.subject.isEmpty && !finding.detail.isEmpty, "a finding says nothing")
            }
        },
        state("backend", "checks and lookups make no machine") { context in
            _ = try await context.backend.check(.presence)
            _ = try await context.backend.machine(context.name("none"))
            try expectEqual(try await context.backend.machines(ownedBy: context.owner), [], "machines")
        },
        state("backend", "close is idempotent, and later calls throw invalidState") { context in
            let other = try await context.make()
            _ = try await other.info()
            await other.close()
            await other.close()
            try await expectError(.invalidState, from: "info") { try await other.info() }
            try await expectError(.invalidState, from: "machines") { try await other.machines(ownedBy: context.owner) }
            try await expectError(.invalidState, from: "machine") { try await other.machine(context.name("1")) }
            let spec = try await context.spec()
            try await expectError(.invalidState, from: "create") { try await other.create(spec) }
            try expectEqual(try await context.backend.info(), context.info, "info of the backend beside it")
        },
    ]

    static let create = [
        state("create", "a new machine is defined, and has its name") { context in
            let machine = try await context.machine()
            try expectEqual(machine.id, context.name("1"), "id")
            try await context.expectState(machine, .defined, "after create")
        },
        state("create", "a new machine does not start by itself") { context in
            let machine = try await context.machine(io: "go")
            let log = EventLog(machine)
            try await Task.sleep(for: .milliseconds(100))
            try await context.expectState(machine, .defined, "a little later")
            try expectEqual(log.events, [], "events")
        },
        state("create", "a name that exists is alreadyExists, and the other machine is left alone") { context in
            let first = try await context.running()
            var spec = try await context.spec("other")
            spec.id = first.id
            try await expectError(.alreadyExists, from: "create") { try await context.backend.create(spec) }
            try await context.expectState(first, .running, "of the first machine")
            let listed = try await context.backend.machines(ownedBy: context.owner)
            try expectEqual(listed, [MachineSummary(id: first.id, state: .running)], "machines")
        },
        state("create", "of many at once with one name exactly one is made") { context in
            let spec = try await context.spec()
            let backend = context.backend
            let made = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<6 { group.addTask { (try? await backend.create(spec)) != nil } }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            try expectEqual(made, 1, "creates that went well")
            try expectEqual(try await backend.machines(ownedBy: context.owner).count, 1, "machines")
        },
        state("create", "several machines at once are all made") { context in
            var specs: [MachineSpec] = []
            for number in 1...4 { specs.append(try await context.spec("\(number)")) }
            let backend = context.backend
            try await withThrowingTaskGroup(of: Void.self) { group in
                for spec in specs { group.addTask { _ = try await backend.create(spec) } }
                try await group.waitForAll()
            }
            try expectEqual(
                try await backend.machines(ownedBy: context.owner).map(\.id), specs.map(\.id), "machines")
        },
        state("create", "a name of 80 characters is fine") { context in
            var spec = try await context.spec()
            let padding = 80 - context.owner.rawValue.utf8.count
            spec.id = context.name(String(repeating: "n", count: padding))
            let machine = try await context.backend.create(spec)
            try expectEqual(machine.id, spec.id, "id")
        },
        state("create", "a machine with the user's network starts, or is refused when it is made") { context in
            var spec = try await context.spec()
            spec.network = .user
            let machine: any Machine
            do {
                machine = try await context.backend.create(spec)
            } catch let error as BackendError where error.code == .unsupported {
                return try expect(try await context.backend.machine(spec.id) == nil, "the refused machine is there")
            }
            try await machine.start()
            try await context.expectState(machine, .running, "after start")
        },
        state("create", "a disk may be read-only") { context in
            var spec = try await context.spec()
            spec.disks[1].readOnly = true
            try await context.expectState(try await context.backend.create(spec), .defined, "after create")
        },
        state("create", "a machine leaves the files that its spec names as they are") { context in
            let spec = try await context.spec()
            let before = try HostFiles.read(spec.disks[0].image.path)
            _ = try await context.backend.create(spec)
            try expect(try HostFiles.read(spec.disks[0].image.path) == before, "the system disk has changed")
        },
    ]

    /// Specs that must be refused, and what is wrong with each.
    private static func refuses(
        _ name: String, _ codes: BackendError.Code...,
        change: @escaping @Sendable (inout MachineSpec, HypervisorContext) -> Void
    ) -> ConformanceCase<HypervisorContext> {
        state("refused", name) { context in
            var spec = try await context.spec()
            let good = spec
            change(&spec, context)
            do {
                _ = try await context.backend.create(spec)
                throw ConformanceFailure("it was made")
            } catch let error as BackendError {
                try expect(codes.contains(error.code), "wanted \(codes.map(\.rawValue)), got \(error)")
                try expect(!error.message.isEmpty, "the error says nothing")
            }
            try expectEqual(try await context.backend.machines(ownedBy: context.owner), [], "machines afterwards")
            try expect(try await context.backend.machine(good.id) == nil, "the machine can be looked up")
            // What was refused has not taken the name.
            _ = try await context.backend.create(good)
        }
    }

    static let refused = [
        refuses("a name with a slash is invalidArgument", .invalidArgument) { spec, context in
            spec.id = context.name("a/b")
        },
        refuses("a name with a space, or none at all, is invalidArgument", .invalidArgument) { spec, context in
            spec.id = context.name("a b")
        },
        refuses("a name of 81 characters is invalidArgument", .invalidArgument) { spec, context in
            spec.id = context.name(String(repeating: "n", count: 81 - context.owner.rawValue.utf8.count))
        },
        refuses("a name that looks like markup is invalidArgument", .invalidArgument) { spec, context in
            spec.id = context.name("<name>&")
        },
        refuses("no cpus are invalidArgument", .invalidArgument) { spec, _ in spec.cpus = 0 },
        refuses("more cpus than info allows are invalidArgument", .invalidArgument) { spec, context in
            spec.cpus = context.info.maximumCPUs + 1
        },
        refuses("too little memory is invalidArgument", .invalidArgument) { spec, _ in spec.memory = .kib(4) },
        refuses("a boot from disk without a disk is invalidArgument", .invalidArgument) { spec, _ in spec.disks = [] },
        refuses("the same image twice is invalidArgument", .invalidArgument) { spec, _ in
            spec.disks[1].image = spec.disks[0].image
        },
        refuses("a missing image is notFound", .notFound) { spec, context in
            spec.disks[0].image.path = context.folder.appending("missing")
        },
        refuses("a missing IO disk is notFound", .notFound) { spec, context in
            spec.disks[1].image.path = context.folder.appending("missing")
        },
        refuses("a disk format that it does not have is unsupported", .unsupported) { spec, _ in
            spec.disks[0].image.format = "no-such-format"
        },
        refuses("a missing kernel is notFound, or kernels are unsupported", .notFound, .unsupported) { spec, context in
            let kernel = context.folder.appending("no-kernel")
            spec.boot = .kernel(.init(kernel: kernel, initrd: nil, commandLine: "a=<b> & \"c\""))
        },
        refuses("a console file in a missing folder is notFound", .notFound) { spec, context in
            spec.consoleLog = context.folder.appending("no/console")
        },
    ]
}
