import Abstractions

extension Hypervisor {
    /// This backend with an interceptor around every operation, those of its machines too.
    public func intercepted(by interceptor: some Interceptor) -> any Hypervisor {
        InterceptedHypervisor(hypervisor: self, interceptor: interceptor)
    }
}

struct InterceptedHypervisor<Around: Interceptor>: Hypervisor {
    let hypervisor: any Hypervisor
    let interceptor: Around

    func info() async throws -> HypervisorInfo {
        try await interceptor.around("hypervisor.info") { [hypervisor] in try await hypervisor.info() }
    }

    func check(_ depth: CheckDepth) async throws -> [Finding] {
        try await interceptor.around("hypervisor.check") { [hypervisor] in try await hypervisor.check(depth) }
    }

    func create(_ spec: MachineSpec) async throws -> any Machine {
        let machine = try await interceptor.around("hypervisor.create") { [hypervisor] in
            try await hypervisor.create(spec)
        }
        return InterceptedMachine(machine: machine, interceptor: interceptor)
    }

    func machine(_ id: MachineID) async throws -> (any Machine)? {
        let machine = try await interceptor.around("hypervisor.machine") { [hypervisor] in
            try await hypervisor.machine(id)
        }
        return machine.map { InterceptedMachine(machine: $0, interceptor: interceptor) }
    }

    func machines(ownedBy owner: OwnerTag) async throws -> [MachineSummary] {
        try await interceptor.around("hypervisor.machines") { [hypervisor] in
            try await hypervisor.machines(ownedBy: owner)
        }
    }

    func close() async {
        try? await interceptor.around("hypervisor.close") { [hypervisor] in await hypervisor.close() }
    }
}

private struct InterceptedMachine<Around: Interceptor>: Machine {
    let machine: any Machine
    let interceptor: Around

    var id: MachineID { machine.id }

    func state() async throws -> MachineState {
        try await interceptor.around("machine.state") { [machine] in try await machine.state() }
    }

    func start() async throws {
        try await interceptor.around("machine.start") { [machine] in try await machine.start() }
    }

    func stop(_ mode: StopMode) async throws {
        try await interceptor.around("machine.stop") { [machine] in try await machine.stop(mode) }
    }

    func destroy() async throws {
        try await interceptor.around("machine.destroy") { [machine] in try await machine.destroy() }
    }

    func events() -> AsyncStream<MachineEvent> { machine.events() }

    var console: (any ConsoleFacet)? { machine.console.map { Facets(console: $0, interceptor: interceptor) } }
    var pause: (any PauseFacet)? { machine.pause.map { Facets(pauses: $0, interceptor: interceptor) } }
    var disks: (any DiskHotplugFacet)? { machine.disks.map { Facets(disks: $0, interceptor: interceptor) } }
    var screenshot: (any ScreenshotFacet)? { machine.screenshot.map { Facets(screen: $0, interceptor: interceptor) } }
    var statistics: (any StatisticsFacet)? { machine.statistics.map { Facets(counters: $0, interceptor: interceptor) } }
    var snapshots: (any SnapshotFacet)? {
        machine.snapshots.map { InterceptedSnapshots(snapshots: $0, interceptor: interceptor) }
    }
}

/// The facets whose methods do not clash; only the one that is asked for is set.
private struct Facets<Around: Interceptor>: ConsoleFacet, PauseFacet, DiskHotplugFacet, ScreenshotFacet,
    StatisticsFacet
{
    var console: (any ConsoleFacet)?
    var pauses: (any PauseFacet)?
    var disks: (any DiskHotplugFacet)?
    var screen: (any ScreenshotFacet)?
    var counters: (any StatisticsFacet)?
    let interceptor: Around

    func read(offset: Int64, count: Int) async throws -> [UInt8] {
        try await with("console.read", console) { try await $0.read(offset: offset, count: count) }
    }

    func pause() async throws { try await with("pause.pause", pauses) { try await $0.pause() } }
    func resume() async throws { try await with("pause.resume", pauses) { try await $0.resume() } }

    func attach(_ disk: DiskAttachment) async throws {
        try await with("disks.attach", disks) { try await $0.attach(disk) }
    }

    func detach(_ image: DiskImage) async throws {
        try await with("disks.detach", disks) { try await $0.detach(image) }
    }

    func capture(to file: HostPath) async throws -> String {
        try await with("screenshot.capture", screen) { try await $0.capture(to: file) }
    }

    func sample() async throws -> MachineStatistics {
        try await with("statistics.sample", counters) { try await $0.sample() }
    }

    private func with<Facet: Sendable, Value: Sendable>(
        _ operation: String, _ facet: Facet?, _ body: @escaping @Sendable (Facet) async throws -> Value
    ) async throws -> Value {
        guard let facet else { throw BackendError(.unsupported, operation, "the machine does not have this facet") }
        return try await interceptor.around(operation) { try await body(facet) }
    }
}

private struct InterceptedSnapshots<Around: Interceptor>: SnapshotFacet {
    let snapshots: any SnapshotFacet
    let interceptor: Around

    func create(_ name: SnapshotID, scope: SnapshotScope) async throws {
        try await interceptor.around("snapshots.create") { [snapshots] in
            try await snapshots.create(name, scope: scope)
        }
    }

    func list() async throws -> [SnapshotSummary] {
        try await interceptor.around("snapshots.list") { [snapshots] in try await snapshots.list() }
    }

    func restore(_ name: SnapshotID) async throws {
        try await interceptor.around("snapshots.restore") { [snapshots] in try await snapshots.restore(name) }
    }

    func delete(_ name: SnapshotID) async throws {
        try await interceptor.around("snapshots.delete") { [snapshots] in try await snapshots.delete(name) }
    }
}
