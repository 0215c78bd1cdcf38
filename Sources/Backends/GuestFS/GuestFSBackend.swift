import Abstractions

/// The disk backend `libguestfs`: a small machine of its own mounts the image.
public enum GuestFSBackend {
    /// How it is registered.
    public static let descriptor = BackendDescriptor(
        name: "libguestfs",
        summary: "a small machine of libguestfs mounts the image; slow to start, apart from the host",
        options: [
            OptionDeclaration(
                "kvm", .boolean, default: "false",
                help: "let the appliance use KVM; where KVM is there and broken it would hang without a word")
        ],
        factory: .disk { GuestFSAccess($0) })
}
