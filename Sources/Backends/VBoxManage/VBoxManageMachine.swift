import Abstractions
import BackendSupport
import Host

/// One machine of VirtualBox's.
final class VBoxManageMachine: Machine {
    let record: MachineRecord
    let tool: VBoxManageTool
    /// Told when the machine is gone.
    private let forget: @Sendable (MachineRecord) -> Void

    init(_ record: MachineRecord, _ tool: VBoxManageTool, forget: @escaping @Sendable (MachineRecord) -> Void) {
        self.record = record
        self.tool = tool
        self.forget = forget
    }

    var id: MachineID { record.id }
    var console: (any ConsoleFacet)? { VBoxManageConsole(record: record) }
    var snapshots: (any SnapshotFacet)? { VBoxManageSnapshots(machine: self) }
    var pause: (any PauseFacet)? { VBoxManagePause(machine: self) }
    // VirtualBox plugs no disk into IDE while the guest runs.
    var disks: (any DiskHotplugFacet)? { nil }
    var screenshot: (any ScreenshotFacet)? { VBoxManageScreenshot(machine: self) }
    var statistics: (any StatisticsFacet)? { nil }

    func events() -> AsyncStream<MachineEvent> { record.events() }

    func state() async throws -> MachineState {
        if record.isGone { return .gone }
        do {
            // VirtualBox asks the machine's process, and waits for ever for one that somebody stopped.
            if let process = record.process, process.isAlive, ProcessIdentity.isStopped(process.pid) {
                return record.last
            }
            if let known = record.recentState { return known }
            // Out of turn: whoever wants to know must not wait behind a call that takes long.
            let begun = ContinuousClock.now
            let now = try await info("machine.state").state(record.folder)
            record.keep(StateAnswer(now, begun: begun))
            return now
        } catch let error as BackendError where error.code == .notFound {
            return .gone
        }
    }

    func start() async throws {
        try await record.call("machine.start") { [self] in
            let now = try await presentState("machine.start")
            guard now == .defined || now == .stopped else {
                throw wrongState("machine.start", now, "only a defined or stopped machine starts")
            }
            try MachineSpec.refuseOpenRedoLogs(record.folder.imageFiles)
            if let scope = RunScope.current { try scope.journal.append(.process(id.rawValue)) }
            if let console = record.console { try record.folder.keepConsole(console) }
            let isFirst = record.folder.isOurs ? try record.folder.noteStart() : false
            do {
                try await tool.whenUnlocked(
                    "machine.start", ["startvm", record.uuid, "--type", "headless"], within: .seconds(120))
            } catch {
                // Nobody waited for it, so it may still come up behind us.
                await shielded { [self] in try? await forceStop("machine.start") }
                if isFirst { record.folder.forgetStart() }
                throw await startFailure(error)
            }
            record.process = HeadlessProcess.find(record.uuid)
            record.publish(.running)
        }
    }

    func destroy() async throws {
        if record.isGone { return }
        do {
            try await record.call("machine.destroy") { [self] in
                try await forceStop("machine.destroy")
                try await remove()
                record.end(.gone)
            }
        } catch let error as BackendError where error.code == .notFound {
            record.end(.gone)
        }
        forget(record)
    }

    /// What VirtualBox says of the machine now.
    ///
    /// - Throws: `notFound` when there is none with this uuid.
    func info(_ operation: String) async throws -> MachineInfo {
        do {
            return MachineInfo(
                try await tool.whenUnlocked(
                    operation, ["showvminfo", record.uuid, "--machinereadable"], within: .seconds(60)))
        } catch let error as BackendError where error.code == .notFound {
            throw record.notFound(operation)
        }
    }

    /// The state, for calls that must not be made on a machine that is gone.
    func presentState(_ operation: String) async throws -> MachineState {
        if record.isGone { throw record.notFound(operation) }
        return try await info(operation).state(record.folder)
    }

    func wrongState(_ operation: String, _ now: MachineState, _ rule: String) -> BackendError {
        BackendError(.invalidState, operation, "machine '\(id)' is \(now.rawValue); \(rule)")
    }

    /// Why a start failed, with the end of VirtualBox's log.
    private func startFailure(_ error: any Error) async -> any Error {
        guard var known = error as? BackendError, let log = try? await info("machine.start").log,
            let text = try? HostFiles.readText(log)
        else { return error }
        known.evidence["VBox.log"] = text.split(separator: "\n").suffix(20).joined(separator: "\n")
        return known
    }
}

/// Runs `body` to its end, whatever becomes of the caller's task.
func shielded(_ body: @escaping @Sendable () async -> Void) async { await Task.detached(operation: body).value }
