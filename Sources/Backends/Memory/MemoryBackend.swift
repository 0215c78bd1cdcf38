import Abstractions

/// The reference fake of both protocols, for tests of everything above a backend, and of the conformance suite itself.
public enum MemoryBackend {
    /// Both backends; each is called `memory`.
    public static let descriptors = [hypervisor, disk]

    /// The hypervisor.
    public static let hypervisor = BackendDescriptor(
        name: "memory", summary: "machines that only exist in a table; results are simulated",
        options: [
            OptionDeclaration(
                "guest", .path, help: "program that plays the guest: it gets the disks' paths, the IO disk last"),
            MemoryFaults.option(.hypervisor),
        ],
        factory: .hypervisor { options in
            MemoryHypervisor(
                guest: options["guest"].map { HostPath($0) }, fault: MemoryFault.named(in: options))
        })

    /// The disk.
    public static let disk = BackendDescriptor(
        name: "memory", summary: "disks that are one JSON file with a tree in it",
        options: [MemoryFaults.option(.disk)],
        factory: .disk { options in MemoryDisk(fault: MemoryFault.named(in: options)) })
}
