import Abstractions
import Filters
import MemoryBackend
import Testing

@Suite("Deadlines, faults and chains of hypervisors")
struct FilterTests {
    private func hypervisor() async throws -> any Hypervisor {
        guard case .hypervisor(let make) = MemoryBackend.hypervisor.factory else {
            throw BackendError(.internal, "test", "not a hypervisor")
        }
        return try await make(try OptionValues([:], declared: MemoryBackend.hypervisor.options))
    }

    @Test("a deadline abandons what hangs")
    func abandons() async throws {
        let stuck = try await hypervisor().intercepted(by: FaultFilter([.init("hypervisor.info", .hang)]))
            .intercepted(by: DeadlineFilter(.milliseconds(50)))
        let error = await failure { _ = try await stuck.info() }
        #expect(error?.code == .timeout)
        #expect(error?.operation == "hypervisor.info")
    }

    @Test("cancelling is heard in spite of a call that hangs")
    func cancelled() async throws {
        let stuck = try await hypervisor().intercepted(by: FaultFilter([.init("hypervisor.info", .hang)]))
            .intercepted(by: DeadlineFilter(.seconds(600)))
        let task = Task { try await stuck.info() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("a fault meets the call it is planned for")
    func nthCall() async throws {
        let filter = FaultFilter([.init("hypervisor.info", call: 2, .fail(crash))])
        let faulty = try await hypervisor().intercepted(by: filter)
        #expect(await failure { _ = try await faulty.info() } == nil)
        #expect(await failure { _ = try await faulty.info() } == crash)
        #expect(await failure { _ = try await faulty.info() } == nil)
        #expect(filter.calls == ["hypervisor.info": 3])
    }

    @Test("an unfit hypervisor is passed over before a machine exists, one that dies in create too")
    func hypervisors() async throws {
        let log = FallbackLog()
        let unfit = Unfit()
        let dying = try await hypervisor().intercepted(by: FaultFilter([.init("hypervisor.create", .fail(crash))]))
        let good = try await hypervisor()
        let candidates: [Candidate<any Hypervisor>] = [
            Candidate("unfit") { unfit }, Candidate("dying") { dying }, Candidate("good") { good },
        ]
        let chain = FallbackHypervisor(candidates, log: log)
        let machine = try await chain.create(MachineSpec(id: "anyvisor-t-1", boot: .kernel(kernel())))
        #expect(try await machine.state() == .defined)
        #expect(try await chain.machines(ownedBy: .anyvisor).map(\.id) == ["anyvisor-t-1"])
        #expect(log.rejections.map(\.backend) == ["unfit", "dying"])
        #expect(log.rejections.first?.message == "/dev/kvm: not there, load the module")
        #expect(log.used.last == "good")
        try await machine.destroy()
        await chain.close()
    }

    private func kernel() -> MachineSpec.KernelBoot {
        MachineSpec.KernelBoot(kernel: "/proc/self/exe", initrd: nil, commandLine: "")
    }
}

private struct Unfit: Hypervisor {
    private var error: BackendError { BackendError(.internal, "test", "not asked for") }
    func info() async throws -> HypervisorInfo { throw error }
    func check(_ depth: CheckDepth) async throws -> [Finding] {
        [Finding("/dev/kvm", .bad, "not there", remedy: "load the module")]
    }
    func create(_ spec: MachineSpec) async throws -> any Machine { throw error }
    func machine(_ id: MachineID) async throws -> (any Machine)? { nil }
    func machines(ownedBy: OwnerTag) async throws -> [MachineSummary] { [] }
    func close() async {}
}
