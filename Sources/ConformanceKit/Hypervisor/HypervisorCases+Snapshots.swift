import Abstractions

extension HypervisorCases {
    private static func facet(_ machine: any Machine) throws -> any SnapshotFacet {
        try required(machine.snapshots, "the snapshots facet")
    }

    static let snapshots = [
        state("snapshots", "a machine starts without snapshots", needs: [.snapshots]) { context in
            try expectEqual(try await facet(try await context.snapshotMachine()).list(), [], "snapshots")
        },
        state("snapshots", "a snapshot is listed with its scope, as the current one", needs: [.snapshots]) { context in
            let snapshots = try facet(try await context.snapshotMachine())
            try await snapshots.create("base", scope: .disk)
            let wanted = SnapshotSummary(name: "base", parent: nil, scope: .disk, isCurrent: true)
            try expectEqual(try await snapshots.list(), [wanted], "snapshots")
        },
        state("snapshots", "a name that exists is alreadyExists", needs: [.snapshots]) { context in
            let snapshots = try facet(try await context.snapshotMachine())
            try await snapshots.create("base", scope: .disk)
            try await expectError(.alreadyExists, from: "create") { try await snapshots.create("base", scope: .disk) }
            try expectEqual(try await snapshots.list().count, 1, "snapshots")
        },
        state("snapshots", "an unknown name is notFound", needs: [.snapshots]) { context in
            let snapshots = try facet(try await context.snapshotMachine())
            try await expectError(.notFound, from: "restore") { try await snapshots.restore("none") }
            try await expectError(.notFound, from: "delete") { try await snapshots.delete("none") }
        },
        state(
            "snapshots", "parents come before their children, and a child of a deleted one moves up",
            needs: [.snapshots]
        ) {
            context in
            let snapshots = try facet(try await context.snapshotMachine())
            for name: SnapshotID in ["a", "b", "c"] { try await snapshots.create(name, scope: .disk) }
            var list = try await snapshots.list()
            try expectEqual(list.map(\.name), ["a", "b", "c"], "order")
            try expectEqual(list.map(\.parent), [nil, "a", "b"], "parents")
            try await snapshots.delete("b")
            list = try await snapshots.list()
            try expectEqual(list.map(\.name), ["a", "c"], "order after the delete")
            try expectEqual(list.map(\.parent), [nil, "a"], "parents after the delete")
        },
        state("snapshots", "a restore makes another snapshot the current one", needs: [.snapshots]) { context in
            let machine = try await context.snapshotMachine()
            let snapshots = try facet(machine)
            try await snapshots.create("a", scope: .disk)
            try await snapshots.create("b", scope: .disk)
            try await snapshots.restore("a")
            let current = try await snapshots.list().filter(\.isCurrent).map(\.name)
            try expectEqual(current, ["a"], "current")
            let state = try await machine.state()
            try expect(state == .defined || state == .stopped, "state \(state) after a restore of the disks")
        },
        state("snapshots", "the disks of a running machine are not taken back", needs: [.snapshots]) { context in
            let machine = try await context.snapshotMachine()
            let snapshots = try facet(machine)
            try await snapshots.create("a", scope: .disk)
            try await machine.start()
            try await expectError(.invalidState, from: "restore") { try await snapshots.restore("a") }
            try await context.expectState(machine, .running, "afterwards")
        },
        state("snapshots", "memory of a machine that does not run is invalidState", needs: [.snapshots]) { context in
            let snapshots = try facet(try await context.snapshotMachine())
            try await expectError(.invalidState, .unsupported, from: "create") {
                try await snapshots.create("a", scope: .diskAndMemory)
            }
            try expectEqual(try await snapshots.list(), [], "snapshots")
        },
        state(
            "snapshots", "a disk that two machines have is not snapshotted, and the other machine is named",
            needs: [.snapshots]
        ) {
            context in
            let machine = try await context.snapshotMachine()
            var spec = try await context.spec("2")
            spec.disks[0] = try await context.fixture.systemDisk(
                at: context.folder.appending("1-system"), snapshots: true)
            // A hypervisor may refuse the second machine already.
            guard let other = try? await context.backend.create(spec) else { return }
            do {
                try await facet(machine).create("a", scope: .disk)
                throw ConformanceFailure("a snapshot was taken of a disk that '\(other.id)' has too")
            } catch let error as BackendError {
                try expectEqual(error.code, .inUse, "code")
                try expect(
                    error.message.contains(other.id.rawValue), "the error does not name the other: \(error.message)")
            }
            try expectEqual(try await facet(machine).list(), [], "snapshots")
        },
        state("snapshots", "a name that tools would misread is invalidArgument", needs: [.snapshots]) { context in
            let snapshots = try facet(try await context.snapshotMachine())
            for name: SnapshotID in ["", "-a", "a\nb"] {
                try await expectError(.invalidArgument, from: "create") {
                    try await snapshots.create(name, scope: .disk)
                }
            }
        },
        state(
            "snapshots", "a snapshot of a running machine is taken, and restored when it is off; or it is refused",
            needs: [.snapshots]
        ) {
            context in
            let machine = try await context.snapshotMachine()
            let snapshots = try facet(machine)
            try await machine.start()
            guard context.has(.liveSnapshots) else {
                for scope in [SnapshotScope.disk, .diskAndMemory] {
                    try await expectError(.invalidState, from: "create") {
                        try await snapshots.create("live", scope: scope)
                    }
                }
                try expectEqual(try await snapshots.list(), [], "snapshots")
                return try await context.expectState(machine, .running, "afterwards")
            }
            try await snapshots.create("live", scope: .disk)
            try await context.expectState(machine, .running, "afterwards")
            try await machine.stop(.force)
            try await snapshots.restore("live")
            try await context.expectState(machine, .stopped, "after the restore")
            try await snapshots.delete("live")
            try expectEqual(try await snapshots.list(), [], "snapshots")
        },
        state("snapshots", "a destroyed machine's name starts without snapshots", needs: [.snapshots]) { context in
            let spec = try await context.spec(snapshots: true)
            let machine = try await context.backend.create(spec)
            try await facet(machine).create("a", scope: .disk)
            try await machine.destroy()
            try expectEqual(try await facet(try await context.backend.create(spec)).list(), [], "snapshots")
        },
    ]
}
