import Abstractions
import Synchronization

/// Answers the methods of a hypervisor plugin.
final class HypervisorService: Sendable {
    let hypervisor: any Hypervisor
    private let channel: LineChannel
    private let machines = HandleTable<any Machine>("m")
    private let followers = Mutex<[String: Task<Void, Never>]>([:])

    init(_ hypervisor: any Hypervisor, _ channel: LineChannel) {
        self.hypervisor = hypervisor
        self.channel = channel
    }

    func dispatch(_ call: Call) async throws -> [UInt8] {
        switch call.method {
        case "hypervisor.info": return try call.result(try await hypervisor.info())
        case "hypervisor.check":
            let depth = try call.parameters(CheckParameters.self).depth
            return try call.result(Value(value: try await hypervisor.check(depth)))
        case "hypervisor.create":
            let machine = try await hypervisor.create(try call.parameters(CreateParameters.self).spec)
            return try call.result(handle(machine))
        case "hypervisor.machine":
            let machine = try await hypervisor.machine(try call.parameters(MachineParameters.self).id)
            return try call.result(FoundMachine(machine: machine.map(handle)))
        case "hypervisor.machines":
            let owner = try call.parameters(OwnerParameters.self).owner
            return try call.result(Value(value: try await hypervisor.machines(ownedBy: owner)))
        default:
            let machine = try machines.find(try call.parameters(HandleParameters.self).handle)
            return call.method.hasPrefix("machine.") ? try await core(call, machine) : try await facet(call, machine)
        }
    }

    private func core(_ call: Call, _ machine: any Machine) async throws -> [UInt8] {
        switch call.method {
        case "machine.state": return try call.result(Value(value: try await machine.state()))
        case "machine.start": try await machine.start()
        case "machine.stop": try await machine.stop(try call.parameters(StopParameters.self).mode)
        case "machine.destroy": try await machine.destroy()
        default: throw call.unknownMethod()
        }
        return try call.result(Wire.Empty())
    }

    private func facet(_ call: Call, _ machine: any Machine) async throws -> [UInt8] {
        switch call.method {
        case "console.read":
            guard let console = machine.console else { throw call.missingFacet("console") }
            let wanted = try call.parameters(ReadParameters.self)
            return try call.result(
                Value(
                    value: Base64.encode(
                        try await console.read(offset: wanted.offset, count: min(wanted.count, Wire.readLimit)))))
        case "pause.pause", "pause.resume":
            guard let pause = machine.pause else { throw call.missingFacet("pause") }
            if call.method == "pause.pause" { try await pause.pause() } else { try await pause.resume() }
        case "disks.attach":
            guard let disks = machine.disks else { throw call.missingFacet("disks") }
            try await disks.attach(try call.parameters(AttachParameters.self).disk)
        case "disks.detach":
            guard let disks = machine.disks else { throw call.missingFacet("disks") }
            try await disks.detach(try call.parameters(DetachParameters.self).image)
        case "screenshot.capture":
            guard let screenshot = machine.screenshot else { throw call.missingFacet("screenshot") }
            let file = try call.parameters(FileParameters.self).file
            return try call.result(Value(value: try await screenshot.capture(to: file)))
        case "statistics.sample":
            guard let statistics = machine.statistics else { throw call.missingFacet("statistics") }
            return try call.result(try await statistics.sample())
        default: return try await snapshot(call, machine)
        }
        return try call.result(Wire.Empty())
    }

    private func snapshot(_ call: Call, _ machine: any Machine) async throws -> [UInt8] {
        guard call.method.hasPrefix("snapshots.") else { throw call.unknownMethod() }
        guard let snapshots = machine.snapshots else { throw call.missingFacet("snapshots") }
        if call.method == "snapshots.list" { return try call.result(Value(value: try await snapshots.list())) }
        let wanted = try call.parameters(SnapshotParameters.self)
        switch call.method {
        case "snapshots.create": try await snapshots.create(wanted.name, scope: wanted.scope ?? .disk)
        case "snapshots.restore": try await snapshots.restore(wanted.name)
        case "snapshots.delete": try await snapshots.delete(wanted.name)
        default: throw call.unknownMethod()
        }
        return try call.result(Wire.Empty())
    }

    private func handle(_ machine: any Machine) -> MachineHandle {
        let facets: [(Feature, Bool)] = [
            (.console, machine.console != nil), (.snapshots, machine.snapshots != nil), (.pause, machine.pause != nil),
            (.diskHotplug, machine.disks != nil), (.screenshot, machine.screenshot != nil),
            (.statistics, machine.statistics != nil),
        ]
        let events = machine.events()
        let handle = machines.add(machine)
        follow(events, handle)
        return MachineHandle(handle: handle, id: machine.id, facets: facets.filter(\.1).map(\.0))
    }

    /// Sends the events of a machine from the moment its handle exists, so that none is missed, until the handle is released.
    private func follow(_ events: AsyncStream<MachineEvent>, _ handle: String) {
        let task = Task { [channel] in
            for await event in events {
                let notice = Wire.Request(id: nil, method: "$/event", params: EventNotice(handle: handle, event: event))
                if let line = try? Wire.encode(notice) { try? channel.write(line) }
            }
        }
        followers.withLock { $0[handle] = task }
    }

    func release(_ handle: String) {
        machines.remove(handle)
        followers.withLock { $0.removeValue(forKey: handle) }?.cancel()
    }
}
