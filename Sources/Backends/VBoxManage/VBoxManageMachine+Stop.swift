import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension VBoxManageMachine {
    func stop(_ mode: StopMode) async throws {
        try await record.call("machine.stop") { [self] in
            let now = try await answer("machine.stop").state(record.folder)
            if now == .defined || now == .stopped {
                record.publish(now)
                return
            }
            if case .graceful(let limit) = mode, now == .running { try await askToStop(within: limit) }
            try await forceStop("machine.stop")
        }
    }

    /// Presses the power button and waits for the guest.
    private func askToStop(within limit: Duration) async throws {
        let end = ContinuousClock.now + limit
        do {
            try await tool("machine.stop", ["controlvm", record.uuid, "acpipowerbutton"])
        } catch is BackendError {
            // Who cannot be asked is forced at once.
            return
        }
        while ContinuousClock.now < end {
            try await Task.sleep(for: min(.milliseconds(200), max(.zero, ContinuousClock.now.duration(to: end))))
            let now = try await presentState("machine.stop")
            if now != .running { return }
        }
    }

    /// Cuts the power and waits until the machine's process is gone and its lock free; does nothing when it is off.
    func forceStop(_ operation: String) async throws {
        let now = try await answer(operation)
        let process = process
        if ["running", "paused", "gurumeditation"].contains(now.stateWord) || process != nil {
            try await cutPower(operation, process)
        }
        try await waitForEnd(operation, process)
        let state = try await info(operation).state(record.folder)
        if state == .crashed, record.folder.isOurs { record.folder.settle() }
        record.process = nil
        record.publish(state == .crashed ? .stopped : state)
    }

    /// The process that runs the machine now.
    private var process: ProcessIdentity? {
        if let known = record.process, known.isAlive { return known }
        return HeadlessProcess.find(record.uuid)
    }

    /// What VirtualBox says of a machine that is about to end: a process that keeps it from answering is killed.
    private func answer(_ operation: String) async throws -> MachineInfo {
        if let process, ProcessIdentity.isStopped(process.pid) { process.signal(SIGKILL) }
        do {
            return try await info(operation)
        } catch let error as BackendError where error.code == .timeout {
            guard let process else { throw error }
            process.signal(SIGKILL)
            return try await info(operation)
        }
    }

    private func cutPower(_ operation: String, _ process: ProcessIdentity?) async throws {
        do {
            try await tool(operation, ["controlvm", record.uuid, "poweroff"], within: .seconds(10))
        } catch let error as BackendError {
            // It may have ended by itself while we asked; one that does not answer is killed.
            if error.code == .notFound || error.code == .cancelled { throw error }
            if error.code != .invalidState { process?.signal(SIGKILL) }
        }
    }

    private func waitForEnd(_ operation: String, _ process: ProcessIdentity?) async throws {
        let killAt = ContinuousClock.now + .seconds(5)
        let end = ContinuousClock.now + .seconds(15)
        while true {
            if process?.isAlive != true, try await !info(operation).isActive { return }
            if ContinuousClock.now > killAt { process?.signal(SIGKILL) }
            guard ContinuousClock.now < end else {
                throw BackendError(
                    .inUse, operation,
                    "machine '\(id)' does not stop; VirtualBox says: \(try await info(operation).stateWord)",
                    blame: .backend)
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}
