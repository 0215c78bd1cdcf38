import Abstractions

/// What sets one hypervisor behind libvirt apart from the others. A new one is one value in a file under `Dialects/`.
struct LibvirtDialect: Sendable {
    /// The backend's name in configuration.
    var name: String
    /// One sentence for `anyvisor backends`.
    var summary: String
    /// Where libvirt is when no option `uri` says so.
    var home: Home
    /// The domain's `type`.
    var domainType: String
    /// The machine type, nil leaves it to the driver.
    var machineType: String?
    /// The mode of `<cpu>`, nil leaves the element out.
    var cpuMode: String?
    /// Features taken off that model.
    var cpuFeaturesOff: [String] = []
    /// The emulator's program, nil when the driver has none.
    var emulator: String?
    /// What machines can do; facets follow from it.
    var features: Set<Feature>
    /// The disk formats machines take.
    var formats: [ImageFormat]
    /// Those that can hold a snapshot.
    var snapshotFormats: [ImageFormat] = []
    /// What a domain's disks are attached to, by what it boots from.
    var bus: @Sendable (MachineSpec.BootSource) -> DiskBus
    /// How long a small kernel may take to boot and end before `check` calls it stuck.
    var kernelLimit: Duration = .seconds(90)
    /// What must be here besides libvirt and the emulator; a `bad` one makes `create` throw `unavailable`.
    var requirements: @Sendable () -> [Finding]

    /// Where libvirt's driver runs.
    enum Home: Sendable {
        /// In this process, with a root folder of its own.
        case embedded
        /// Behind this URI.
        case uri(String)
    }

    /// The options that it takes.
    var options: [OptionDeclaration] {
        guard emulator != nil else {
            return [OptionDeclaration("uri", .string, help: "libvirt connection URI; default: test:///default")]
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
                choices: DiskBus.allCases.map(\.rawValue)),
            OptionDeclaration(
                "cache", .string, default: "unsafe",
                help: "unsafe ignores the guest's flushes, so a power failure of the host can damage an image",
                choices: ["unsafe", "writeback"]),
            OptionDeclaration(
                "proofImage", .path, help: "folder of a built image with a kernel, for `check` with proof"),
        ]
    }
}

/// What a disk is attached to.
enum DiskBus: String, Sendable, CaseIterable {
    /// Paravirtual, fast; a kernel needs a driver for it.
    case virtio
    /// PIIX; every system since 1995 has a driver, and a BIOS counts both disks.
    case ide

    /// The guest's names for disks on this bus, as libvirt spells them.
    func target(_ index: Int) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz")
        return (self == .ide ? "hd" : "vd") + String(letters[min(index, letters.count - 1)])
    }

    /// How many disks the bus takes.
    var capacity: Int { self == .ide ? 4 : 20 }
}
