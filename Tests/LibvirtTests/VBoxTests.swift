import Abstractions
import BackendSupport
import Host
import Testing

@testable import LibvirtBackend

@Suite("VirtualBox through libvirt")
struct VBoxTests {
    @Test("raw disks and a kernel are replaced by files that VirtualBox takes, other disks stay")
    func files() throws {
        let boot = MachineSpec.KernelBoot(kernel: "/k", initrd: nil, commandLine: "quiet")
        let spec = MachineSpec(
            id: "m", memory: .mib(64), boot: .kernel(boot),
            disks: [
                DiskAttachment(DiskImage(path: "/a.vdi", format: .vdi), role: .system),
                DiskAttachment(DiskImage(path: "/b.raw", format: .raw), role: .io),
            ])
        let stands = VirtualBoxFiles(in: "/files").standing(in: spec)
        #expect(stands.disks.map(\.image.path) == ["/a.vdi", "/files/disk1.vmdk"])
        #expect(stands.disks.map(\.image.format) == [.vdi, .vmdk] && stands.disks.map(\.role) == [.system, .io])
        #expect(stands.boot == .cdrom("/files/kernel.iso"))
        let text = try DomainXML(
            dialect: .vbox, spec: stands, uuid: "u", emulator: nil, console: "/c.log", bus: .ide, cache: "unsafe"
        ).document()
        #expect(text.hasPrefix("<domain type='vbox'>") && text.contains("<boot dev='cdrom'/>"))
        #expect(text.contains("<model type='vbox'/>") && text.contains("model='piix4'"))
        // Nothing listens beyond this host.
        #expect(text.contains("listen='127.0.0.1'"))
        #expect(DomainDescription(text).disks.map(\.file).contains("/files/kernel.iso"))
    }

    @Test("a VirtualBox that libvirt does not know is unavailable, so that the next backend is tried")
    func unknownVersion() {
        let failure = LibvirtFailure(code: 1, text: "internal error: unable to initialize VirtualBox driver API")
        #expect(failure.code == .unavailable && failure.code.fallsThrough)
        #expect(failure.remedy?.contains("vboxmanage") == true)
    }

    @Test("a driver that tells of no events is looked at: what was off when first seen has not ended")
    func observed() async {
        let record = MachineRecord(id: "m", uuid: "u")
        let events = record.events()
        for state in [MachineState.defined, .stopped, .running, .running, .paused, .stopped] { record.observe(state) }
        record.end(.gone)
        var seen: [MachineEvent] = []
        for await event in events { seen.append(event) }
        #expect(seen == [.state(.running), .state(.paused), .state(.stopped), .gone])
    }

    @Test("a call is repeated while the hypervisor is busy, and not after another error")
    func insists() {
        var calls = 0
        let answer = insisting(while: { calls < 3 }) { () -> Int? in
            calls += 1
            return calls == 2 ? 7 : nil
        }
        #expect(answer == 7 && calls == 2)
        let refused = insisting(while: { false }) { () -> Int? in
            calls += 1
            return nil
        }
        #expect(refused == nil && calls == 3)
    }
}
