import Abstractions
import Host

extension LibvirtDialect {
    /// Xen, by libvirt's libxl driver: a disk boots fully virtualized, a kernel paravirtualized.
    ///
    /// The emulated BIOS reads a kernel byte by byte, which takes minutes where the host's processor is emulated too.
    static let xen = LibvirtDialect(
        name: "xen",
        summary: "Xen, through libvirt's libxl driver; needs a host that runs as Xen's control domain",
        product: "Xen",
        driverPackage: "libvirt-daemon-driver-xen",
        home: .uri("xen:///system"),
        domainType: "xen",
        machineType: "xenfv",
        paravirtual: Paravirtual(machineType: "xenpv", guestType: "linux", console: "hvc0"),
        cpuMode: nil,
        // Without PAE a guest sees no long mode.
        platform: ["acpi", "apic", "pae"],
        // An emulated counter makes Xen decode RDTSCP itself, at which it fails on processors that do not tell it an instruction's length.
        clock: XMLElement(
            "clock", [("offset", "utc")], [XMLElement("timer", [("name", "tsc"), ("mode", "native")])]),
        emulator: nil,
        // libvirt has no snapshots for Xen; those of a machine that is off are ours, in its disks.
        features: [.console, .pause, .snapshots, .statistics, .executesGuests, .kernelBoot],
        formats: [.raw, .qcow2],
        snapshotFormats: [.qcow2],
        bus: { if case .kernel = $0 { .xen } else { .ide } },
        hasUserNetwork: false,
        readOnlyBus: .xen,
        keepsConsole: false,
        // Its driver tells of no pause that belongs to a start.
        startsPaused: false,
        kernelLimit: .seconds(180),
        driverLog: "/var/log/libvirt/libxl/libxl-driver.log",
        requirements: { [controlDomainFinding("/proc/xen/capabilities")] })

    /// Whether this host is the domain that Xen lets control the others: xenfs then says so in a file with the word `control_d`.
    static func controlDomainFinding(_ file: HostPath, type: HostPath = "/sys/hypervisor/type") -> Finding {
        let other = "use another backend, for example qemu"
        guard HostFiles.exists(file) else {
            if let text = try? HostFiles.readText(type), text.hasPrefix("xen") {
                return Finding(
                    file.string, .bad, "xenfs is not mounted", remedy: "mount -t xenfs xenfs \(file.parent)")
            }
            return Finding(
                file.string, .bad, "this host does not run Xen",
                remedy: "let Xen start it (apt-get install xen-system-amd64, then restart), or \(other)")
        }
        guard let text = try? HostFiles.readText(file) else {
            return Finding(file.string, .bad, "this user may not read it", remedy: "run as root, or \(other)")
        }
        guard text.split(whereSeparator: { $0.isWhitespace || $0 == "," }).contains("control_d") else {
            return Finding(
                file.string, .impossible, "this host is a guest of Xen, not its control domain",
                remedy: "run anyvisor in the control domain (dom0), or \(other)")
        }
        return Finding(file.string, .good, "the control domain of Xen")
    }
}
