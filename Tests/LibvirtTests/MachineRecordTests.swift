import Abstractions
import Clibvirt
import Host
import Testing

@testable import LibvirtBackend

@Suite("a machine's states and events")
struct MachineRecordTests {
    private let record = MachineRecord(id: "anyvisor-x-1", uuid: "u")
    private let off = Int32(VIR_DOMAIN_SHUTOFF.rawValue)

    private func state(_ reason: virDomainShutoffReason) -> MachineState {
        record.state(off, Int32(reason.rawValue))
    }

    private func send(_ event: virDomainEventType, _ detail: UInt32 = 0) {
        _ = record.lifecycle(event: event.rawValue, detail: detail)
    }

    @Test("a machine that never started is defined, also after a start that failed")
    func defined() {
        #expect(state(VIR_DOMAIN_SHUTOFF_UNKNOWN) == .defined)
        #expect(state(VIR_DOMAIN_SHUTOFF_FAILED) == .defined)
        record.started(nil)
        #expect(state(VIR_DOMAIN_SHUTOFF_FAILED) == .stopped)
    }

    @Test("a crash stays a crash until somebody stops the machine")
    func crash() {
        record.started(nil)
        #expect(state(VIR_DOMAIN_SHUTOFF_CRASHED) == .crashed)
        record.willStop()
        record.stopped()
        #expect(state(VIR_DOMAIN_SHUTOFF_CRASHED) == .stopped)
        record.started(nil)
        #expect(state(VIR_DOMAIN_SHUTOFF_CRASHED) == .crashed)
    }

    @Test("the stream tells each state once and ends with gone")
    func stream() async {
        let events = record.events()
        send(VIR_DOMAIN_EVENT_STARTED)
        send(VIR_DOMAIN_EVENT_RESUMED)
        send(VIR_DOMAIN_EVENT_SUSPENDED)
        send(VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED.rawValue)
        send(VIR_DOMAIN_EVENT_UNDEFINED)
        var seen: [MachineEvent] = []
        for await event in events { seen.append(event) }
        #expect(seen == [.state(.running), .state(.paused), .state(.crashed), .gone])
    }

    @Test("the end of a QEMU that we kill is a stop, not a crash")
    func wantedEnd() async {
        let events = record.events()
        send(VIR_DOMAIN_EVENT_STARTED)
        record.willStop()
        send(VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED.rawValue)
        send(VIR_DOMAIN_EVENT_UNDEFINED)
        var seen: [MachineEvent] = []
        for await event in events { seen.append(event) }
        #expect(seen == [.state(.running), .state(.stopped), .gone])
    }

    @Test("a machine that is undefined while it runs is gone when it ends")
    func undefinedFirst() async {
        let events = record.events()
        send(VIR_DOMAIN_EVENT_STARTED)
        send(VIR_DOMAIN_EVENT_UNDEFINED)
        #expect(!record.isGone)
        send(VIR_DOMAIN_EVENT_STOPPED)
        #expect(record.isGone)
        var seen: [MachineEvent] = []
        for await event in events { seen.append(event) }
        #expect(seen == [.state(.running), .state(.stopped), .gone])
    }

    @Test("a later process knows that a machine was started, until it is gone")
    func mark() throws {
        let folder = try RunScope.makeProcessFolder("libvirt-test")
        defer { try? HostFiles.removeTree(folder) }
        let first = MachineTable(marks: folder).record("anyvisor-x-1", uuid: "u")
        #expect(first.state(off, 0) == .defined)
        first.started(nil)
        let second = MachineTable(marks: folder).record("anyvisor-x-1", uuid: "u")
        #expect(second.state(off, 0) == .stopped)
        second.end(.gone)
        #expect(HostFiles.names(in: folder).isEmpty)
    }

    @Test("a stream of a machine that is gone ends at once")
    func afterwards() async {
        record.end(.gone)
        var seen: [MachineEvent] = []
        for await event in record.events() { seen.append(event) }
        #expect(seen == [.gone])
    }
}
