import Abstractions

/// A hypervisor backend in another process.
public struct RemoteHypervisor: Hypervisor {
    private let host: PluginHost

    init(_ host: PluginHost) { self.host = host }

    private func call<Parameters: Codable & Sendable, Result: Codable & Sendable>(
        _ method: String, _ patience: Patience, as type: Result.Type = Result.self,
        _ parameters: (Int64?) -> Parameters
    ) async throws -> (Result, PluginProcess) {
        let process = try await host.process()
        let patience = patience.under(CallDeadline.current)
        return (try await process.call(method, parameters(patience.limit?.milliseconds), patience), process)
    }

    /// See `Hypervisor`.
    public func info() async throws -> HypervisorInfo {
        try await call("hypervisor.info", .long) { HandleParameters(handle: "", deadlineMs: $0) }.0
    }

    /// See `Hypervisor`.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        try await call("hypervisor.check", .long, as: Value<[Finding]>.self) {
            CheckParameters(depth: depth, deadlineMs: $0)
        }.0.value
    }

    /// See `Hypervisor`.
    public func create(_ spec: MachineSpec) async throws -> any Machine {
        let (machine, process) = try await call("hypervisor.create", .long, as: MachineHandle.self) {
            CreateParameters(spec: spec, deadlineMs: $0)
        }
        return RemoteMachine(process, machine)
    }

    /// See `Hypervisor`.
    public func machine(_ id: MachineID) async throws -> (any Machine)? {
        let (found, process) = try await call("hypervisor.machine", .long, as: FoundMachine.self) {
            MachineParameters(id: id, deadlineMs: $0)
        }
        return found.machine.map { RemoteMachine(process, $0) }
    }

    /// See `Hypervisor`.
    public func machines(ownedBy owner: OwnerTag) async throws -> [MachineSummary] {
        try await call("hypervisor.machines", .long, as: Value<[MachineSummary]>.self) {
            OwnerParameters(owner: owner, deadlineMs: $0)
        }.0.value
    }

    /// See `Hypervisor`.
    public func close() async { await host.close() }
}

/// A machine of a backend in another process.
struct RemoteMachine: Machine {
    let id: MachineID
    private let object: RemoteObject
    private let facets: Set<Feature>

    init(_ process: PluginProcess, _ machine: MachineHandle) {
        id = machine.id
        object = RemoteObject(process: process, handle: machine.handle)
        facets = Set(machine.facets)
    }

    func state() async throws -> MachineState {
        let answer: Value<MachineState> = try await object.call("machine.state", .short) {
            HandleParameters(handle: $0, deadlineMs: $1)
        }
        return answer.value
    }

    func start() async throws { try await object.call("machine.start", .long) }

    func stop(_ mode: StopMode) async throws {
        var patience = Patience.long
        if case .graceful(let within) = mode { patience.limit = within + .seconds(30) }
        let _: Wire.Empty = try await object.call("machine.stop", patience) {
            StopParameters(handle: $0, mode: mode, deadlineMs: $1)
        }
    }

    func destroy() async throws { try await object.call("machine.destroy", .long) }

    func events() -> AsyncStream<MachineEvent> { object.process.events(object.handle, keeping: object) }

    var console: (any ConsoleFacet)? { facets.contains(.console) ? RemoteMachineFacets(object: object) : nil }
    var snapshots: (any SnapshotFacet)? { facets.contains(.snapshots) ? RemoteSnapshots(object: object) : nil }
    var pause: (any PauseFacet)? { facets.contains(.pause) ? RemoteMachineFacets(object: object) : nil }
    var disks: (any DiskHotplugFacet)? { facets.contains(.diskHotplug) ? RemoteMachineFacets(object: object) : nil }
    var screenshot: (any ScreenshotFacet)? {
        facets.contains(.screenshot) ? RemoteMachineFacets(object: object) : nil
    }
    var statistics: (any StatisticsFacet)? {
        facets.contains(.statistics) ? RemoteMachineFacets(object: object) : nil
    }
}

struct RemoteMachineFacets: ConsoleFacet, PauseFacet, DiskHotplugFacet, ScreenshotFacet, StatisticsFacet {
    let object: RemoteObject

    func read(offset: Int64, count: Int) async throws -> [UInt8] {
        let answer: Value<String> = try await object.call("console.read", .short) {
            ReadParameters(
                handle: $0, path: nil, offset: offset, count: min(count, Wire.readLimit), deadlineMs: $1)
        }
        return try Base64.decode(answer.value)
    }

    func pause() async throws { try await object.call("pause.pause", .short) }
    func resume() async throws { try await object.call("pause.resume", .short) }

    func attach(_ disk: DiskAttachment) async throws {
        let _: Wire.Empty = try await object.call("disks.attach", .long) {
            AttachParameters(handle: $0, disk: disk, deadlineMs: $1)
        }
    }

    func detach(_ image: DiskImage) async throws {
        let _: Wire.Empty = try await object.call("disks.detach", .long) {
            DetachParameters(handle: $0, image: image, deadlineMs: $1)
        }
    }

    func capture(to file: HostPath) async throws -> String {
        let answer: Value<String> = try await object.call("screenshot.capture", .long) {
            FileParameters(handle: $0, file: file, deadlineMs: $1)
        }
        return answer.value
    }

    func sample() async throws -> MachineStatistics {
        try await object.call("statistics.sample", .short) { HandleParameters(handle: $0, deadlineMs: $1) }
    }
}

struct RemoteSnapshots: SnapshotFacet {
    let object: RemoteObject

    func create(_ name: SnapshotID, scope: SnapshotScope) async throws {
        try await call("snapshots.create", name, scope)
    }

    func list() async throws -> [SnapshotSummary] {
        let answer: Value<[SnapshotSummary]> = try await object.call("snapshots.list", .short) {
            HandleParameters(handle: $0, deadlineMs: $1)
        }
        return answer.value
    }

    func restore(_ name: SnapshotID) async throws { try await call("snapshots.restore", name, nil) }
    func delete(_ name: SnapshotID) async throws { try await call("snapshots.delete", name, nil) }

    private func call(_ method: String, _ name: SnapshotID, _ scope: SnapshotScope?) async throws {
        let _: Wire.Empty = try await object.call(method, .long) {
            SnapshotParameters(handle: $0, name: name, scope: scope, deadlineMs: $1)
        }
    }
}
