import Abstractions
import Host

/// Reads the file that VirtualBox writes the first serial port to, and what was in it before the last start.
struct VBoxManageConsole: ConsoleFacet {
    let record: MachineRecord

    func read(offset: Int64, count: Int) async throws -> [UInt8] {
        guard offset >= 0, count >= 0 else {
            throw BackendError(.invalidArgument, "console.read", "offset \(offset) or count \(count) is below zero")
        }
        // Cheaper than asking VirtualBox, and as good: the settings go with the machine.
        guard !record.isGone, HostFiles.exists(record.settings) else { throw record.notFound("console.read") }
        guard let file = record.console else { return [] }
        let folder = record.folder
        return try await onOwnThread { Result { try folder.readConsole(file, offset, min(count, 1 << 20)) } }.get()
    }
}

/// Holds a guest still.
struct VBoxManagePause: PauseFacet {
    let machine: VBoxManageMachine

    func pause() async throws { try await change("pause", from: .running, to: .paused) }
    func resume() async throws { try await change("resume", from: .paused, to: .running) }

    private func change(_ verb: String, from: MachineState, to: MachineState) async throws {
        let (operation, machine, record) = ("pause.\(verb)", machine, machine.record)
        try await record.call(operation) {
            let now = try await machine.presentState(operation)
            if now == to { return }
            guard now == from else {
                throw machine.wrongState(operation, now, "this takes a machine that is \(from.rawValue)")
            }
            try await machine.tool(operation, ["controlvm", record.uuid, verb])
            record.publish(to)
        }
    }
}

/// A picture of the machine's screen.
struct VBoxManageScreenshot: ScreenshotFacet {
    let machine: VBoxManageMachine

    func capture(to file: HostPath) async throws -> String {
        let (operation, machine, record) = ("screenshot.capture", machine, machine.record)
        let file = HostFiles.absolute(file)
        return try await record.call(operation) {
            let now = try await machine.presentState(operation)
            guard now == .running || now == .paused else {
                throw machine.wrongState(operation, now, "only a running or paused machine shows something")
            }
            guard !HostFiles.exists(file) else {
                throw BackendError(.alreadyExists, operation, "\(file) exists already", blame: .caller)
            }
            do {
                try await machine.tool(operation, ["controlvm", record.uuid, "screenshotpng", file.string])
            } catch {
                try? HostFiles.removeTree(file)
                throw error
            }
            return "image/png"
        }
    }
}
