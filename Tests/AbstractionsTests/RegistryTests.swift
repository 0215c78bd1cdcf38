import Abstractions
import Testing

@Suite struct RegistryTests {
    private func descriptor(_ name: String) -> BackendDescriptor {
        BackendDescriptor(
            name: name, summary: "",
            factory: .disk { _ in throw BackendError(.unavailable, "test", "nothing is behind \(name)") })
    }

    private func registry() throws -> BackendRegistry {
        var registry = BackendRegistry(knownNames: ["vboxmanage"], aliases: ["virtualbox": ["direct", "vboxmanage"]])
        try registry.register(descriptor("direct"))
        try registry.register(descriptor("vdfuse"))
        return registry
    }

    @Test("two backends of a kind cannot have one name")
    func duplicate() throws {
        var registry = try registry()
        #expect(throws: BackendError.self) { try registry.register(descriptor("direct")) }
        #expect(registry.all(.disk).map(\.name) == ["direct", "vdfuse"])
    }

    @Test("an alias stands for its chain, and a known name without a descriptor stays")
    func expands() throws {
        let registry = try registry()
        #expect(try registry.expand(["virtualbox", "vdfuse"], .disk) == ["direct", "vboxmanage", "vdfuse"])
        #expect(registry.find("vboxmanage", .disk) == nil)
    }

    @Test("a name that nobody knows is refused with the nearest one")
    func unknown() throws {
        let registry = try registry()
        let error = #expect(throws: BackendError.self) { try registry.expand(["dirct"], .disk) }
        #expect(error?.message.contains("did you mean 'direct'?") == true)
    }

    @Test("a machine's name takes what each hypervisor takes")
    func machineNames() {
        for name in ["a", "anyvisor-x1-2", "A.b_c-9", String(repeating: "x", count: 80)] {
            #expect(MachineID(name).isValid, "\(name)")
        }
        for name in ["", "-a", ".a", "a b", "a/b", "ü", "a\n", String(repeating: "x", count: 81)] {
            #expect(!MachineID(name).isValid, "\(name)")
        }
        #expect(OwnerTag("anyvisor-r-").owns("anyvisor-r-1"))
        #expect(!OwnerTag("anyvisor-r-").owns("anyvisor-s-1"))
    }

    @Test("a spec that no hypervisor can make is refused by the name of its field")
    func specs() {
        let image = DiskImage(path: "/a", format: .raw)
        var spec = MachineSpec(id: "m", disks: [DiskAttachment(image, role: .system)])
        #expect(throws: Never.self) { try spec.validate() }
        spec.disks.append(DiskAttachment(image, role: .io))
        #expect(throws: BackendError.self) { try spec.validate() }
        spec.disks = []
        #expect(throws: BackendError.self) { try spec.validate() }
        spec.boot = .cdrom("/iso")
        #expect(throws: Never.self) { try spec.validate() }
        spec.memory = .kib(1)
        #expect(throws: BackendError.self) { try spec.validate() }
    }
}
