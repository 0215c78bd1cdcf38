import Abstractions

/// The hypervisors that libvirt drives, one backend a dialect.
public enum LibvirtBackend {
    /// Every dialect there is.
    static let dialects: [LibvirtDialect] = [.qemu, .kvm, .vbox, .xen, .test]

    /// A descriptor for each dialect.
    public static let descriptors: [BackendDescriptor] = dialects.map(descriptor)

    /// The descriptor of a dialect by its name, nil when there is none.
    public static func descriptor(dialect name: String) -> BackendDescriptor? {
        dialects.first { $0.name == name }.map(descriptor)
    }

    private static func descriptor(_ dialect: LibvirtDialect) -> BackendDescriptor {
        BackendDescriptor(
            name: dialect.name, summary: dialect.summary, options: dialect.options,
            factory: .hypervisor { LibvirtHypervisor(dialect, $0) })
    }
}
