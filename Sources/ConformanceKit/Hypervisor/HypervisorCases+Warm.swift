import Abstractions
import Host

extension HypervisorCases {
    /// A machine that waits is taken back for one job after another, as the runner does it.
    static let warm = [
        state(
            "warm", "a machine taken back with its memory goes on where it was, with what its IO disk now has",
            needs: [.warmStart, .executesGuests, .snapshots, .pause]
        ) {
            context in
            var spec = try await context.spec(log: true, snapshots: true)
            let disk = try SparseFile(making: context.folder.appending("job"), size: 1 << 20)
            try disk.write(Array("WARM".utf8), at: 0)
            spec.disks[1] = DiskAttachment(DiskImage(path: disk.path, format: .raw), role: .io)
            let attachment = spec.disks[1]
            let machine = try await context.backend.create(spec)
            let pause = try required(machine.pause, "the pause facet")
            let snapshots = try required(machine.snapshots, "the snapshots facet")
            let console = try required(spec.consoleLog, "the console file")
            try await machine.start()
            try await eventually("the guest waits", within: .seconds(60)) {
                try HostFiles.readText(console).contains("mini: tick")
            }
            try await pause.pause()
            try await snapshots.create("warm", scope: .diskAndMemory)
            for job in ["HANG first", "HANG second", "HANG third"] {
                try disk.clear()
                try disk.write(Array(job.utf8), at: 0)
                try await pause.resume()
                // A guest that was not taken back does not look at its disk any more.
                try await eventually("the answer to '\(job)'", within: .seconds(60)) {
                    let found = try await context.fixture.read(attachment)
                    return found.answer == "anyvisor-mini-answer:\(job)" && found.counter == 1
                }
                try await pause.pause()
                try await snapshots.restore("warm")
                try await context.expectState(machine, .paused, "after the restore")
            }
            try await machine.stop(.force)
            try await context.expectState(machine, .stopped, "after stop")
        }
    ]
}
