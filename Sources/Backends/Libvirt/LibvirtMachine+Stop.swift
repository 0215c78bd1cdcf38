import Abstractions
import BackendSupport
import Clibvirt
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension LibvirtMachine {
    /// How long a QEMU may take to go before it is killed. libvirt itself waits 10 s for one that is stopped (SIGSTOP).
    private static let patience = Duration.seconds(2)

    /// Asks the guest to power off and waits for it.
    func askToStop(within limit: Duration) async throws {
        let events = record.events()
        let asked = try await record.call("machine.stop") { [self] in
            try connection.withDomain("machine.stop", record) { virDomainShutdown($0) == 0 }
        }
        // Who cannot be asked is forced at once.
        guard asked else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await event in events {
                    switch event {
                    case .state(.stopped), .state(.crashed), .gone, .lost: return
                    case .state: continue
                    }
                }
            }
            group.addTask { try? await ContinuousClock.wait(until: .now + limit) }
            await group.next()
            group.cancelAll()
        }
        try Task.checkCancellation()
    }

    /// Cuts the power; does nothing when the machine is off.
    func forceStop(_ operation: String) async throws {
        record.willStop()
        // A call that hangs, or one that will, hangs until its QEMU is dead.
        if record.isWedged { killEmulator() }
        let watchdog = Task.detached { [self] in
            try await Task.sleep(for: LibvirtMachine.patience)
            killEmulator()
        }
        defer { watchdog.cancel() }
        try await record.call(operation) { [self] in
            try connection.withDomain(operation, record) { domain in
                if virDomainIsActive(domain) == 1 {
                    if let emulator = emulator, ProcessStatus(pid: emulator.pid)?.state == "T" { killEmulator() }
                    // VirtualBox refuses, for no reason that its driver tells, while it is busy with the start.
                    let isDone: Void? = insisting(while: { lastErrorNamesNoCause }) {
                        virDomainDestroy(domain) == 0 ? () : nil
                    }
                    if isDone == nil {
                        let failure = libvirtError(operation, "cannot stop machine '\(id)'")
                        // It may have ended by itself while we asked.
                        if virDomainIsActive(domain) != 0 { throw failure }
                    }
                }
                record.stopped()
                if connection.isSilent { record.observe(.stopped) }
            }
        }
    }

    private func killEmulator() { emulator?.signal(SIGKILL) }

    private var emulator: ProcessIdentity? {
        guard connection.isLocal else { return nil }
        return record.emulator ?? findEmulator()
    }

    func findEmulator() -> ProcessIdentity? {
        guard connection.isLocal else { return nil }
        return Emulator.find(id, mark: dialect.processMark(id, record.uuid), root: connection.root)
    }
}
