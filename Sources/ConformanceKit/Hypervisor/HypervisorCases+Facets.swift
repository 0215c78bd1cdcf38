import Abstractions
import Host

extension HypervisorCases {
    /// The facets that a machine has, by their features.
    private static func facets(_ machine: any Machine) -> Set<Feature> {
        let all: [(Feature, Bool)] = [
            (.console, machine.console != nil), (.snapshots, machine.snapshots != nil), (.pause, machine.pause != nil),
            (.diskHotplug, machine.disks != nil), (.screenshot, machine.screenshot != nil),
            (.statistics, machine.statistics != nil),
        ]
        return Set(all.filter(\.1).map(\.0))
    }

    private static let facetFeatures: Set<Feature> = [
        .console, .snapshots, .pause, .diskHotplug, .screenshot, .statistics,
    ]

    static let facets = [
        state("facets", "features and facets agree, for a new machine and one that was looked up") { context in
            let declared = context.info.features.intersection(facetFeatures)
            let machine = try await context.machine()
            try expectEqual(facets(machine), declared, "facets of a new machine")
            let found = try required(try await context.backend.machine(machine.id), "the machine")
            try expectEqual(facets(found), declared, "facets of a machine that was looked up")
        },
        state("facets", "the console of a machine that never ran is empty", needs: [.console]) { context in
            let console = try required(try await context.machine().console, "the console")
            try expectEqual(try await console.read(offset: 0, count: 100), [], "console")
            try expectEqual(try await console.read(offset: 5_000, count: 100), [], "console behind its end")
        },
        state("facets", "a negative offset or count of the console is invalidArgument", needs: [.console]) { context in
            let console = try required(try await context.machine().console, "the console")
            try await expectError(.invalidArgument, from: "offset -1") { try await console.read(offset: -1, count: 1) }
            try await expectError(.invalidArgument, from: "count -1") { try await console.read(offset: 0, count: -1) }
        },
        state("facets", "the console gives the same bytes again, from any offset", needs: [.console]) { context in
            let machine = try await context.running()
            let console = try required(machine.console, "the console")
            if context.fixture.mini != nil || context.has(.simulated) {
                try await eventually("output on the console", within: .seconds(60)) {
                    try await console.read(offset: 0, count: 10).count == 10
                }
            }
            let all = try await console.read(offset: 0, count: 10)
            try expectEqual(try await console.read(offset: 0, count: 10), all, "the same again")
            try expectEqual(try await console.read(offset: 4, count: 6), Array(all.dropFirst(4)), "from offset 4")
        },
        state("facets", "pause holds a running machine, resume lets it go on", needs: [.pause]) { context in
            let machine = try await context.running()
            let pause = try required(machine.pause, "the pause facet")
            for _ in 0..<2 {
                try await pause.pause()
                try await context.expectState(machine, .paused, "after pause")
            }
            for _ in 0..<2 {
                try await pause.resume()
                try await context.expectState(machine, .running, "after resume")
            }
        },
        state("facets", "pause and resume of what does not run are invalidState", needs: [.pause]) { context in
            let machine = try await context.machine()
            let pause = try required(machine.pause, "the pause facet")
            try await expectError(.invalidState, from: "pause of a defined machine") { try await pause.pause() }
            try await expectError(.invalidState, from: "resume of a defined machine") { try await pause.resume() }
            try await machine.start()
            try await machine.stop(.force)
            try await expectError(.invalidState, from: "pause of a stopped machine") { try await pause.pause() }
            try await context.expectState(machine, .stopped, "afterwards")
        },
        state("facets", "a paused machine does not start, but stops and can be destroyed", needs: [.pause]) { context in
            let machine = try await context.running()
            let pause = try required(machine.pause, "the pause facet")
            try await pause.pause()
            try await expectError(.invalidState, from: "start") { try await machine.start() }
            try await machine.stop(.force)
            try await context.expectState(machine, .stopped, "after stop")
            try await machine.start()
            try await pause.pause()
            try await machine.destroy()
            try await context.expectState(machine, .gone, "after destroy")
        },
        state("facets", "pause and resume are told as events", needs: [.pause]) { context in
            let machine = try await context.running()
            let log = EventLog(machine)
            let pause = try required(machine.pause, "the pause facet")
            _ = try await machine.state()
            try await pause.pause()
            try await log.wait(for: .state(.paused))
            try await pause.resume()
            try await log.wait(for: .state(.running))
        },
        state("facets", "a screenshot is a new file with a media type", needs: [.screenshot]) { context in
            let machine = try await context.running()
            let screenshot = try required(machine.screenshot, "the screenshot facet")
            let file = context.folder.appending("picture")
            let type = try await screenshot.capture(to: file)
            try expect(type.hasPrefix("image/"), "type '\(type)'")
            try expect((HostFiles.size(file) ?? 0) > 0, "the picture is empty")
            let before = try HostFiles.read(file)
            try await expectError(.alreadyExists, from: "a second capture") { try await screenshot.capture(to: file) }
            try expect(try HostFiles.read(file) == before, "the old picture has changed")
        },
        state("facets", "a screenshot of what does not run is invalidState", needs: [.screenshot]) { context in
            let screenshot = try required(try await context.machine().screenshot, "the screenshot facet")
            let file = context.folder.appending("picture")
            try await expectError(.invalidState, from: "capture") { try await screenshot.capture(to: file) }
            try expect(!HostFiles.exists(file), "a file was made")
        },
        state("facets", "counters of a running machine are never negative and never go back", needs: [.statistics]) {
            context in
            let machine = try await context.running()
            let statistics = try required(machine.statistics, "the statistics facet")
            let first = try await statistics.sample()
            let second = try await statistics.sample()
            for (before, after) in [
                (first.cpuNanoseconds, second.cpuNanoseconds), (first.diskRead?.bytes, second.diskRead?.bytes),
                (first.diskWritten?.bytes, second.diskWritten?.bytes),
            ] {
                try expect((before ?? 0) >= 0, "a counter below zero: \(first)")
                if let before, let after { try expect(after >= before, "a counter went back: \(first), \(second)") }
            }
        },
    ]

    static let hotplug = [
        state("hotplug", "a disk comes and goes while the machine runs", needs: [.diskHotplug]) { context in
            let machine = try await context.running()
            let disks = try required(machine.disks, "the disks facet")
            let disk = try await context.fixture.ioDisk("more", at: context.folder.appending("more"))
            try await disks.attach(disk)
            try await expectError(.alreadyExists, from: "the same disk again") { try await disks.attach(disk) }
            try await disks.detach(disk.image)
            try await expectError(.notFound, from: "detach again") { try await disks.detach(disk.image) }
            try expect(HostFiles.exists(disk.image.path), "the image is gone")
        },
        state("hotplug", "a disk of a machine that does not run is invalidState", needs: [.diskHotplug]) { context in
            let disks = try required(try await context.machine().disks, "the disks facet")
            let disk = try await context.fixture.ioDisk("more", at: context.folder.appending("more"))
            try await expectError(.invalidState, from: "attach") { try await disks.attach(disk) }
        },
        state("hotplug", "a disk that the machine does not have is notFound", needs: [.diskHotplug]) { context in
            let disks = try required(try await context.running().disks, "the disks facet")
            let image = DiskImage(path: context.folder.appending("other"), format: context.fixture.format)
            try await expectError(.notFound, from: "detach") { try await disks.detach(image) }
        },
    ]
}
