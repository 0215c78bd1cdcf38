import Abstractions
import Host

/// Calls VirtualBox's command line.
struct VBoxManageTool: Sendable {
    /// The program's name or path.
    let program: String

    /// Runs one command and gives its standard output.
    ///
    /// - Parameter limit: the longest time, unless the caller's deadline is nearer.
    /// - Throws: `unavailable` when VirtualBox is not here, `timeout`, `cancelled`, what VirtualBox says.
    @discardableResult
    func callAsFunction(
        _ operation: String, _ arguments: [String], within limit: Duration = .seconds(60)
    ) async throws -> String {
        guard HostEnvironment.program(program) != nil else { throw missing(operation) }
        let outcome: Tool.Outcome
        do {
            outcome = try await Tool.run(
                program, ["-q"] + arguments, environment: Self.environment(HostEnvironment.all),
                deadline: min(limit, CallDeadline.remaining ?? limit), marked: false)
        } catch let error as BackendError where error.code == .timeout {
            throw BackendError(
                .timeout, operation, "VBoxManage \(arguments.first ?? "") did not end in time; VBoxSVC may hang",
                blame: .backend)
        }
        guard outcome.exit == .exited(0) else {
            throw VBoxManageFailure(outcome.errors, outcome.exit).error(operation, arguments.first ?? "")
        }
        return outcome.text
    }

    /// Like a call, again and again while another command or a machine's end still holds the machine; for questions too, which
    /// VirtualBox refuses when they meet the end of a machine's session. Where VBoxSVC has died no other can start until the machines
    /// that it had have noticed, up to ten seconds later.
    ///
    /// - Throws: like a call; the last refusal when the machine stays held, or the service away.
    @discardableResult
    func whenUnlocked(
        _ operation: String, _ arguments: [String], within limit: Duration = .seconds(60)
    ) async throws -> String {
        let begun = ContinuousClock.now
        var (refused, since) = (BackendError.Code?.none, begun)
        while true {
            do {
                return try await self(operation, arguments, within: limit)
            } catch let error as BackendError where error.retry == .backoff {
                // A service that was away is no reason to wait less for a machine that is held then.
                let now = ContinuousClock.now
                if let refused, refused != error.code { since = now }
                refused = error.code
                let patience: Duration = error.code == .unavailable ? .seconds(30) : .seconds(10)
                if now >= since + patience || now >= begun + .seconds(60) { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    /// The error for a program that is not there.
    func missing(_ operation: String) -> BackendError {
        BackendError(
            .unavailable, operation,
            "\(program) is not installed; \(VBoxManageTool.remedy), or name VirtualBox's command line in the option `program`",
            blame: .host)
    }

    /// How VirtualBox comes here.
    static let remedy = "install VirtualBox 7 (https://www.virtualbox.org/wiki/Linux_Downloads)"

    /// The environment for a service that outlives the run: VBoxManage starts VBoxSVC, which then serves all of the user's
    /// machines, so it must carry neither the run's mark, by which `reap` finds processes, nor its folder for temporary files.
    static func environment(_ all: [String: String]) -> [String: String] {
        all.filter { !$0.key.hasPrefix("ANYVISOR_") && $0.key != "TMPDIR" }
    }
}
