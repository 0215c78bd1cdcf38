import Abstractions

/// A chain of hypervisors; which one is used is decided before the machine exists.
///
/// `create` falls through too, since it is all or nothing; what a process that died in the middle may have left is journaled, and
/// belongs to `reap`. A machine that exists stays with its hypervisor.
public struct FallbackHypervisor: Hypervisor {
    private let chain: CandidateChain<any Hypervisor>
    private let qualify: CheckDepth?

    /// Chains hypervisors in order of preference.
    ///
    /// - Parameter qualify: the check that a hypervisor must pass before it is asked for a machine; nil asks at once.
    public init(_ candidates: [Candidate<any Hypervisor>], log: FallbackLog, qualify: CheckDepth? = .presence) {
        chain = CandidateChain(candidates, log) { await $0.close() }
        self.qualify = qualify
    }

    /// See `Hypervisor`: of the first that can be had.
    public func info() async throws -> HypervisorInfo {
        try await chain.first("hypervisor.info") { hypervisor, _ in
            try await requireFitness(of: hypervisor)
            return try await hypervisor.info()
        }.0
    }

    /// See `Hypervisor`: of the first that can be had.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        try await chain.first("hypervisor.check") { hypervisor, _ in try await hypervisor.check(depth) }.0
    }

    /// See `Hypervisor`.
    public func create(_ spec: MachineSpec) async throws -> any Machine {
        try await chain.first("hypervisor.create") { hypervisor, _ in
            try await requireFitness(of: hypervisor)
            return try await hypervisor.create(spec)
        }.0
    }

    /// See `Hypervisor`: of those at work, else of the first that can be had.
    public func machine(_ id: MachineID) async throws -> (any Machine)? {
        let atWork = await chain.atWork()
        for (_, hypervisor) in atWork {
            if let machine = try await hypervisor.machine(id) { return machine }
        }
        if !atWork.isEmpty { return nil }
        return try await chain.first("hypervisor.machine") { hypervisor, _ in try await hypervisor.machine(id) }.0
    }

    /// See `Hypervisor`: of those at work, else of the first that can be had.
    public func machines(ownedBy owner: OwnerTag) async throws -> [MachineSummary] {
        let atWork = await chain.atWork()
        if atWork.isEmpty {
            return try await chain.first("hypervisor.machines") { hypervisor, _ in
                try await hypervisor.machines(ownedBy: owner)
            }.0
        }
        var found: [MachineSummary] = []
        for (_, hypervisor) in atWork { found += try await hypervisor.machines(ownedBy: owner) }
        return found.sorted { $0.id.rawValue < $1.id.rawValue }
    }

    /// See `Hypervisor`.
    public func close() async { await chain.close() }

    private func requireFitness(of hypervisor: any Hypervisor) async throws {
        guard let qualify else { return }
        guard let finding = try await hypervisor.check(qualify).first(where: { $0.isObstacle }) else { return }
        let remedy = finding.remedy.map { ", \($0)" } ?? ""
        throw BackendError(
            .unavailable, "hypervisor.check", "\(finding.subject): \(finding.detail)\(remedy)", blame: .host)
    }
}
