import Abstractions

/// The disk backend `libguestfs`: a small machine of its own mounts the image.
public enum GuestFSBackend {
    /// How it is registered.
    public static let descriptor = BackendDescriptor(
        name: "libguestfs",
        summary: "a small machine of libguestfs mounts the image; slow to start, apart from the host",
        options: [
            OptionDeclaration(
                "kvm", .string, default: "auto",
                help: "whether the appliance uses KVM; auto: when it has proved itself, which the first start tries",
                choices: ["auto", "true", "false"])
        ],
        factory: .disk { GuestFSAccess($0) })
}
