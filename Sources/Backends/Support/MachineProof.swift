import Abstractions

/// Lets a hypervisor show that it really runs a machine.
public struct MachineProof: Sendable {
    private let hypervisor: any Hypervisor

    /// A proof of this hypervisor.
    public init(hypervisor: any Hypervisor) { self.hypervisor = hypervisor }

    /// Runs a machine until it has ended, or time is up; good when its console then shows the mark.
    ///
    /// - Throws: nothing but what stops the caller's task: what fails is a finding.
    public func run(
        _ subject: String, _ spec: MachineSpec, within limit: Duration, mark: String
    ) async throws -> Finding {
        let begin = ContinuousClock.now
        do {
            let machine = try await hypervisor.create(spec)
            let outcome = await outcome(of: machine, within: limit)
            let text = (try? await machine.console?.read(offset: 0, count: 64 << 10)) ?? []
            try await machine.destroy()
            let seconds = ((ContinuousClock.now - begin).inSeconds * 10).rounded() / 10
            guard String(decoding: text, as: UTF8.self).contains(mark) else {
                let reason = outcome ?? "it ended without the expected line on its console"
                return Finding(subject, .bad, reason, remedy: "use another backend, for example qemu")
            }
            return Finding(subject, .good, "ran and spoke, \(seconds) s")
        } catch {
            try Task.checkCancellation()
            return Finding(subject, .bad, BackendError.wrapping(error, "check").message)
        }
    }

    /// nil when the machine ended by itself, else what went wrong.
    private func outcome(of machine: any Machine, within limit: Duration) async -> String? {
        let events = machine.events()
        do { try await machine.start() } catch { return BackendError.wrapping(error, "check").message }
        return await withTaskGroup(of: String?.self) { group in
            group.addTask {
                for await event in events {
                    switch event {
                    case .state(.stopped): return nil
                    case .state(.crashed): return "the hypervisor's process died"
                    case .lost(let error): return error.message
                    case .gone: return "somebody removed the machine"
                    case .state: continue
                    }
                }
                return nil
            }
            group.addTask {
                try? await ContinuousClock.wait(until: .now + limit)
                return "it did not end within \(Int(limit.inSeconds)) s"
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}
