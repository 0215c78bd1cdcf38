import Abstractions

/// VirtualBox by its own command line, which every version of it has.
public enum VBoxManageBackend {
    /// The hypervisor.
    public static let descriptor = BackendDescriptor(
        name: "vboxmanage", summary: "VirtualBox 7 by its own command line",
        options: [
            OptionDeclaration(
                "program", .path, default: "VBoxManage",
                help: "VirtualBox's command line, or a program that calls it where it is installed"),
            OptionDeclaration(
                "root", .path, help: "folder for the files of machines; default: one of the run's, gone with the run"),
        ],
        factory: .hypervisor { VBoxManageHypervisor($0) })
}
