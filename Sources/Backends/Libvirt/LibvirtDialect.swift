import Abstractions

/// What sets one hypervisor behind libvirt apart from the others. A new one is one value in a file under `Dialects/`.
struct LibvirtDialect: Sendable {
    /// The backend's name in configuration.
    var name: String
    /// One sentence for `anyvisor backends`.
    var summary: String
    /// What the version that the driver reports is one of, nil when it says nothing to anybody.
    var product: String?
    /// Debian's package with libvirt's driver for it.
    var driverPackage = "libvirt-daemon-driver-qemu"
    /// Where libvirt is when no option `uri` says so.
    var home: Home
    /// The domain's `type`.
    var domainType: String
    /// The machine type, nil leaves it to the driver.
    var machineType: String?
    /// How a kernel of the host is booted, nil: in the same machine as a disk.
    var paravirtual: Paravirtual?
    /// The mode of `<cpu>`, nil leaves the element out.
    var cpuMode: String?
    /// Features taken off that model.
    var cpuFeaturesOff: [String] = []
    /// What `<features>` switches on.
    var platform = ["acpi", "apic"]
    /// The `<clock>`, nil leaves it to the driver.
    var clock: XMLElement?
    /// What takes away the devices that a driver adds unasked.
    var spareDevices: [XMLElement] = []
    /// The emulator's program, nil when the driver has none or finds it itself.
    var emulator: String?
    /// What machines can do; facets follow from it.
    var features: Set<Feature>
    /// Whether guests' code is translated before it runs.
    var translatesCode = false
    /// The disk formats machines take.
    var formats: [ImageFormat]
    /// Those that can hold a snapshot.
    var snapshotFormats: [ImageFormat] = []
    /// What a domain's disks are attached to, by what it boots from.
    var bus: @Sendable (MachineSpec.BootSource) -> DiskBus
    /// Whether files of ours stand for raw disks and for a kernel of the host, as VirtualBox needs them.
    var needsVirtualBoxFiles = false
    /// Whether a guest can have a network that needs nothing of the host's.
    var hasUserNetwork = true
    /// The screen's model.
    var videoModel = "vga"
    /// What a read-only disk is attached to.
    var readOnlyBus = DiskBus.virtio
    /// Whether a start leaves what an earlier one printed in the console's file; where not, we keep it.
    var keepsConsole = true
    /// Whether a machine is started paused and then let go.
    var startsPaused = true
    /// How long a small kernel may take to boot and end before `check` calls it stuck.
    var kernelLimit: Duration = .seconds(90)
    /// What the driver itself writes on this host when a machine does not start; its errors name no cause.
    var driverLog: HostPath?
    /// What is in the command line of the process that runs a machine, by the machine's name and uuid; a NUL is before each argument.
    ///
    /// libvirt starts QEMU with `-name guest=NAME,debug-threads=on`.
    var processMark: @Sendable (MachineID, String) -> String = { id, _ in "\0guest=\(id)," }
    /// What must be on the host of the machines besides libvirt and the emulator; a `bad` one makes it `unavailable`.
    var requirements: @Sendable () -> [Finding]

    /// A machine without a BIOS and without emulated devices.
    struct Paravirtual: Sendable {
        /// Its machine type.
        var machineType: String
        /// What stands in `<os><type>`.
        var guestType: String
        /// The kernel's name of its console, which is a terminal of the host.
        var console: String
    }

    /// Where libvirt's driver runs.
    enum Home: Sendable {
        /// In this process, with a root folder of its own.
        case embedded
        /// Behind this URI.
        case uri(String)
    }

    /// What its connections begin with.
    var driver: Substring {
        switch home {
        case .embedded: "qemu"
        case .uri(let uri): Self.driver(of: uri)
        }
    }

    /// The driver in an URI: DRIVER[+TRANSPORT]://…; empty for a name that libvirt's configuration gives a connection.
    static func driver(of uri: String) -> Substring { uri.contains(":") ? uri.prefix { $0 != ":" && $0 != "+" } : "" }

    /// What machines can do: consoles and disks of another host cannot be reached from here.
    func features(isLocal: Bool) -> Set<Feature> {
        isLocal ? features : features.subtracting([.console, .snapshots, .liveSnapshots, .warmStart])
    }

    /// The options that it takes.
    var options: [OptionDeclaration] {
        let proof = OptionDeclaration(
            "proofImage", .path, help: "folder of a built image with a kernel, for `check` with proof")
        if case .uri(let uri) = home {
            let place = OptionDeclaration("uri", .string, help: "libvirt connection URI; default: \(uri)")
            return features.contains(.kernelBoot) ? [place, proof] : [place]
        }
        return [
            OptionDeclaration(
                "uri", .string,
                help:
                    "libvirt connection URI, for example qemu:///session; default: libvirt's driver inside this program"
            ),
            OptionDeclaration("root", .path, help: "folder of the embedded libvirt; default: a private one of the run"),
            OptionDeclaration("emulator", .path, help: "the QEMU program; default: the one in PATH"),
            OptionDeclaration(
                "bus", .string, help: "what disks are attached to; default: ide when booting from disk, else virtio",
                choices: [DiskBus.virtio, .ide].map(\.rawValue)),
            OptionDeclaration(
                "cache", .string, default: "unsafe",
                help: "unsafe ignores the guest's flushes, so a power failure of the host can damage an image",
                choices: ["unsafe", "writeback"]),
            proof,
        ]
    }
}

/// What a disk is attached to.
enum DiskBus: String, Sendable {
    /// Paravirtual, fast; a kernel needs a driver for it.
    case virtio
    /// PIIX; every system since 1995 has a driver, and a BIOS counts both disks.
    case ide
    /// Xen's own, paravirtual.
    case xen

    private var prefix: String {
        switch self {
        case .virtio: "vd"
        case .ide: "hd"
        case .xen: "xvd"
        }
    }

    /// The guest's names for disks on this bus, as libvirt spells them.
    func target(_ index: Int) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz")
        return prefix + String(letters[min(index, letters.count - 1)])
    }

    /// How many disks the bus takes.
    var capacity: Int { self == .ide ? 4 : 20 }
}
