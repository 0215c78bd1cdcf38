import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension LibvirtDialect {
    /// QEMU with the processor's virtualization (KVM).
    static let kvm = LibvirtDialect(
        name: "kvm",
        summary: "QEMU with KVM, through libvirt; needs /dev/kvm",
        product: "QEMU",
        home: .embedded,
        domainType: "kvm",
        machineType: "pc",
        cpuMode: "host-passthrough",
        // A host that is itself a guest shows this one and cannot set it: QEMU 7.2 then aborts ("failed to set MSR 0x10a").
        cpuFeaturesOff: ["arch-capabilities"],
        spareDevices: LibvirtDialect.qemuSpareDevices,
        emulator: "qemu-system-x86_64",
        features: [
            .console, .pause, .snapshots, .liveSnapshots, .screenshot, .statistics, .executesGuests, .kernelBoot,
            .warmStart,
        ],
        formats: [.raw, .qcow2, .vdi],
        snapshotFormats: [.qcow2],
        bus: LibvirtDialect.qemuBus,
        kernelLimit: .seconds(40),
        requirements: { [deviceFinding("/dev/kvm")] })

    /// Whether KVM's device is there, may be opened by us and speaks the one version there is (12, see kvm(4) "KVM_GET_API_VERSION").
    ///
    /// - Parameter processor: the list of the processor's flags; "vmx" is VT-x, "svm" is AMD-V, and neither is there when the firmware,
    ///   or the host of this machine, has turned it off.
    static func deviceFinding(_ device: String, processor: HostPath = "/proc/cpuinfo") -> Finding {
        let descriptor = open(device, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else {
            switch errno {
            case EACCES, EPERM:
                return Finding(
                    device, .bad, "this user may not open it",
                    remedy: "usermod -aG kvm \(HostEnvironment.variable("USER") ?? "USER"), then log in again")
            case ENOENT, ENXIO, ENODEV:
                let flags = try? HostFiles.readText(processor).split(whereSeparator: \.isWhitespace)
                if let flags, !flags.contains("vmx"), !flags.contains("svm") {
                    return Finding(
                        device, .impossible, "the processor shows neither VT-x nor AMD-V",
                        remedy:
                            "use the backend qemu, or turn virtualization on in the firmware, for a virtual machine "
                            + "nesting in its host")
                }
                return Finding(
                    device, .bad, "this host has no usable KVM",
                    remedy: "load the module: modprobe kvm_intel || modprobe kvm_amd; else use the backend qemu")
            default:
                return Finding(
                    device, .bad, String(cString: strerror(errno)).lowercased(), remedy: "use the backend qemu")
            }
        }
        defer { close(descriptor) }
        // _IO(KVMIO = 0xAE, 0x00)
        let version = ioctl(descriptor, 0xAE00, 0)
        guard version == 12 else {
            return Finding(
                device, .bad, "it answers with API version \(version), not 12", remedy: "use the backend qemu")
        }
        return Finding(device, .good, "KVM answers, API version 12")
    }
}
