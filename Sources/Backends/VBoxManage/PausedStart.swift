import Abstractions
import BackendSupport
import Host

/// Starting a machine that stands still from its first moment, which VirtualBox's command line cannot: its program for machines
/// without a window is called itself.
extension VBoxManageTool {
    /// That program: beside the command line, nil when it is not there.
    var headless: HostPath? {
        guard let own = HostEnvironment.program(program) else { return nil }
        let sibling = HostFiles.absolute(own).parent.appending("VBoxHeadless")
        return HostFiles.exists(sibling) ? sibling : nil
    }

    /// Why memory is not brought back where it is missing.
    func missingHeadless(_ operation: String) -> BackendError {
        BackendError(
            .unsupported, operation,
            "VirtualBox's VBoxHeadless is not beside \(program), and only it starts a machine that stands still; take the disks",
            blame: .host)
    }

    /// Starts the program in a session of its own, as a machine outlives who started it.
    fileprivate func launch(_ arguments: [String], log: HostPath, _ operation: String) async throws {
        guard let headless else { throw missingHeadless(operation) }
        // `cat` ends when the program has left this session, which is killed with the tool.
        let outcome = try await Tool.run(
            "sh",
            [
                "-c", #"setsid -f sh -c 'exec "$@" >"$0" 2>&1 </dev/null' "$0" "$@" 2>&1 | cat"#, log.string,
                headless.string,
            ]
                + arguments,
            environment: Self.environment(HostEnvironment.all), deadline: .seconds(10), marked: false)
        guard outcome.exit == .exited(0), outcome.text.isEmpty else {
            throw BackendError(
                .internal, operation, "\(headless) is not started (\(outcome.exit)): \(outcome.text)", blame: .host)
        }
    }
}

extension VBoxManageMachine {
    /// Starts a machine that is off, and returns when it is paused.
    ///
    /// - Throws: `internal` with the program's words when it ends instead, `timeout`, `inUse`.
    func launchPaused(_ operation: String) async throws {
        if let scope = RunScope.current { try scope.journal.append(.process(id.rawValue)) }
        if let console = record.console { try record.folder.keepConsole(console) }
        if record.folder.isOurs { _ = try record.folder.noteStart() }
        let begun = ContinuousClock.now
        while try await !comesUp(operation, begun) {
            guard begun.duration(to: .now) < .seconds(10) else {
                throw BackendError(.inUse, operation, "machine '\(id)' stays locked", blame: .backend)
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Whether it is up and paused; false when VirtualBox has not let go of it yet since it was off.
    private func comesUp(_ operation: String, _ begun: ContinuousClock.Instant) async throws -> Bool {
        let log = record.folder.headlessLog
        // As VirtualBox's service does it, by which the process is found.
        try await tool.launch(
            ["--comment", id.rawValue, "--startvm", record.uuid, "--vrde", "off", "--start-paused"], log: log, operation
        )
        while let process = HeadlessProcess.find(record.uuid) {
            record.process = process
            if try await info(operation).stateWord == "paused" { return true }
            guard begun.duration(to: .now) < .seconds(120) else {
                throw BackendError(.timeout, operation, "machine '\(id)' is not up after 120 s", blame: .backend)
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        let said = (try? HostFiles.readText(log)) ?? ""
        if said.contains("locked for a session") { return false }
        let error = said.split(separator: "\n").first { $0.contains("error:") } ?? "VBoxHeadless gives no reason"
        throw BackendError(
            .internal, operation, "machine '\(id)' does not start from its snapshot: \(error)", blame: .backend,
            evidence: ["VBoxHeadless": said])
    }
}
