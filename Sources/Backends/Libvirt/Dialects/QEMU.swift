import Abstractions
import BackendSupport
import Host

extension LibvirtDialect {
    /// QEMU with its own interpreter (TCG): slow, and works on every host.
    static let qemu = LibvirtDialect(
        name: "qemu",
        summary: "QEMU without hardware support, through libvirt; works on every host",
        product: "QEMU",
        home: .embedded,
        domainType: "qemu",
        machineType: "pc",
        // Everything that TCG can do: binary wheels are built for more than the default model has.
        cpuMode: "maximum",
        // A boot of `tiny` takes 14 % less of the processor.
        cpuFeaturesOff: InterpretedProcessor.slowFeatures,
        spareDevices: LibvirtDialect.qemuSpareDevices,
        emulator: "qemu-system-x86_64",
        features: [
            .console, .pause, .snapshots, .liveSnapshots, .screenshot, .statistics, .executesGuests, .kernelBoot,
            .warmStart,
        ],
        translatesCode: true,
        formats: [.raw, .qcow2, .vdi],
        snapshotFormats: [.qcow2],
        bus: LibvirtDialect.qemuBus,
        requirements: { [] })

    /// libvirt gives each domain an USB controller and a balloon when nobody says no.
    static let qemuSpareDevices = [
        XMLElement("controller", [("type", "usb"), ("model", "none")]), XMLElement("memballoon", [("model", "none")]),
    ]

    /// A guest that loads itself may be older than virtio; a kernel that we load is one whose image we know.
    @Sendable static func qemuBus(_ boot: MachineSpec.BootSource) -> DiskBus {
        switch boot {
        case .disk, .cdrom: .ide
        case .kernel: .virtio
        }
    }
}
