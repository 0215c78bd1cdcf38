import Abstractions
import BackendSupport

extension LibvirtDialect {
    /// VirtualBox, by libvirt's driver: the versions that it knows (libvirt 9.0: 5.2 to 6.1; 11.3: 7.0), on the same host.
    ///
    /// The driver has no events, statistics or metadata; its snapshots of machines that are off end its daemon (libvirt 11.3).
    static let vbox = LibvirtDialect(
        name: "vbox",
        summary: "VirtualBox up to 7.0, through libvirt; the backend vboxmanage takes later ones",
        // Its driver reports garbage for a version with a suffix, as Debian's have.
        product: nil,
        driverPackage: "libvirt-daemon-driver-vbox",
        home: .uri("vbox:///session"),
        domainType: "vbox",
        machineType: nil,
        cpuMode: nil,
        spareDevices: [
            XMLElement("controller", [("type", "ide"), ("index", "0"), ("model", "piix4")]),
            // Without it the driver opens a window. It is VirtualBox's remote display, which only an extension pack of Oracle's serves.
            XMLElement("graphics", [("type", "rdp"), ("autoport", "yes"), ("listen", "127.0.0.1")]),
        ],
        emulator: nil,
        features: Set([.console, .pause, .screenshot, .executesGuests]).union(
            KernelDisc.isPossible ? [.kernelBoot] : []),
        formats: [.raw, .vdi, .vhd, .vmdk],
        bus: { _ in .ide },
        needsVirtualBoxFiles: true,
        videoModel: "vbox",
        readOnlyBus: .ide,
        keepsConsole: false,
        startsPaused: false,
        kernelLimit: .seconds(600),
        // `VBoxHeadless --comment NAME --startvm UUID …`
        processMark: { _, uuid in "\0--startvm\0\(uuid)\0" },
        requirements: { [] })
}
