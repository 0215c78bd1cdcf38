import Abstractions

extension LibvirtDialect {
    /// libvirt's own driver that keeps states in memory and runs nothing.
    static let test = LibvirtDialect(
        name: "test",
        summary: "libvirt's in-memory driver: machines have states and run nothing",
        home: .uri("test:///default"),
        domainType: "test",
        machineType: nil,
        cpuMode: nil,
        emulator: nil,
        features: [.pause],
        formats: [.raw, .qcow2, .vdi],
        bus: { _ in .virtio },
        requirements: { [] })
}
