import Abstractions
import Testing

@testable import LibvirtBackend

@Suite("domain XML")
struct DomainXMLTests {
    private func document(
        _ spec: MachineSpec, dialect: LibvirtDialect = .qemu, bus: DiskBus? = nil, console: HostPath? = "/tmp/c.log"
    ) throws -> String {
        try DomainXML(
            dialect: dialect, spec: spec, uuid: "00000000-0000-4000-8000-000000000000", emulator: "/usr/bin/qemu",
            console: console, bus: bus ?? dialect.bus(spec.boot), cache: "unsafe"
        ).document()
    }

    private func spec(_ boot: MachineSpec.BootSource = .disk, disks: Int = 2, readOnly: Bool = false) -> MachineSpec {
        MachineSpec(
            id: "anyvisor-x-1", memory: .mib(64), boot: boot,
            disks: (0..<disks).map {
                DiskAttachment(
                    DiskImage(path: HostPath("/d/\($0).raw"), format: .raw), role: $0 == 0 ? .system : .io,
                    readOnly: readOnly)
            })
    }

    @Test(
        "what is escaped comes back as it was",
        arguments: ["plain", "a&b<c>d'e\"f", "&amp;", "ä\u{1F600}", "tab\tnew\nline", "'><source file='/etc/passwd'/>"])
    func escapes(text: String) {
        let escaped = XMLElement.escape(text)
        #expect(DomainDescription.unescape(escaped[...]) == text)
        #expect(!escaped.contains("<") && !escaped.contains("'"))
    }

    @Test("a path cannot add an element of its own")
    func injection() throws {
        var bad = spec(disks: 1)
        bad.disks[0].image.path = "/d/'/><target dev='x'/>"
        let description = DomainDescription(try document(bad))
        #expect(description.disks.map(\.file) == ["/d/'/><target dev='x'/>"])
    }

    @Test("a control character is refused and not smuggled in", arguments: ["/d/\u{1}", "/d/\u{0}x", "/d/\u{1b}[2J"])
    func control(path: String) {
        var bad = spec(disks: 1)
        bad.disks[0].image.path = HostPath(path)
        #expect(throws: BackendError.self) { try document(bad) }
    }

    @Test("a disk boot has both disks on IDE, a kernel boot on virtio")
    func buses() throws {
        let disk = try document(spec())
        #expect(disk.contains("<target dev='hda' bus='ide'/>") && disk.contains("<target dev='hdb' bus='ide'/>"))
        let boot = MachineSpec.KernelBoot(kernel: "/k", initrd: "/i", commandLine: "a='b c' quiet")
        let kernel = try document(spec(.kernel(boot)))
        #expect(
            kernel.contains("<target dev='vda' bus='virtio'/>") && kernel.contains("<target dev='vdb' bus='virtio'/>"))
        #expect(kernel.contains("<cmdline>a=&apos;b c&apos; quiet</cmdline>"))
        #expect(try document(spec(), bus: .virtio).contains("<target dev='vda' bus='virtio'/>"))
    }

    @Test("a read-only disk is on virtio, since IDE cannot be read-only")
    func readOnly() throws {
        let text = try document(spec(disks: 1, readOnly: true))
        #expect(text.contains("<target dev='vda' bus='virtio'/><readonly/>"))
    }

    @Test("a machine of Xen has IDE disks, PAE, the processor's own counter, and only devices that libxl can leave out")
    func xen() throws {
        let boot = MachineSpec.KernelBoot(kernel: "/k", initrd: "/i", commandLine: "console=ttyS0")
        let (disk, kernel) = (try document(spec(), dialect: .xen), try document(spec(.kernel(boot)), dialect: .xen))
        for text in [disk, kernel] {
            #expect(text.hasPrefix("<domain type='xen'>"))
            #expect(text.contains("<pae/>") && text.contains("<timer name='tsc' mode='native'/>"))
            for word in ["<controller", "<memballoon", "<video", "<cpu"] { #expect(!text.contains(word)) }
            #expect(DomainDescription(text).consoleFile == "/tmp/c.log")
        }
        #expect(
            disk.contains("<type arch='x86_64' machine='xenfv'>hvm</type>") && disk.contains("<serial type='file'>"))
        #expect(disk.contains("<target dev='hda' bus='ide'/>") && disk.contains("<target dev='hdb' bus='ide'/>"))
        #expect(kernel.contains("<type arch='x86_64' machine='xenpv'>linux</type>") && !kernel.contains("<serial"))
        #expect(kernel.contains("<target dev='xvda' bus='xen'/>") && kernel.contains("<target dev='xvdb' bus='xen'/>"))
        #expect(kernel.contains("<cmdline>console=ttyS0 console=hvc0</cmdline>"))
    }

    @Test("the terminal of a running machine's console is read back")
    func terminal() throws {
        let text = """
            <domain><metadata>
              <anyvisor:console xmlns:anyvisor="urn:anyvisor:console">/a &amp; b.log</anyvisor:console>
            </metadata><devices>
              <console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/><target type='xen' port='0'/></console>
            </devices></domain>
            """
        #expect(DomainDescription(text).consoleTerminal == "/dev/pts/3")
        #expect(DomainDescription(text).consoleFile == "/a & b.log")
    }

    @Test("a read-only disk of Xen is on Xen's bus, with a letter that no IDE disk has")
    func readOnlyOfXen() throws {
        var wish = spec(disks: 3)
        wish.disks[1].readOnly = true
        let text = try document(wish, dialect: .xen)
        #expect(text.contains("<target dev='xvdb' bus='xen'/><readonly/>"))
        #expect(text.contains("<target dev='hda' bus='ide'/>") && text.contains("<target dev='hdc' bus='ide'/>"))
    }

    @Test("a fifth IDE disk is refused by name")
    func tooManyDisks() {
        #expect { try document(spec(disks: 5)) } throws: {
            ($0 as? BackendError)?.code == .invalidArgument
        }
    }

    @Test("no network means no interface, and nothing listens")
    func network() throws {
        let none = try document(spec())
        for word in ["<interface", "<graphics", "<channel"] { #expect(!none.contains(word)) }
        var wish = spec()
        wish.network = .user
        #expect(try document(wish).contains("<interface type='user'>"))
    }

    @Test("every way for a guest to end is an end")
    func endings() throws {
        let text = try document(spec())
        for way in ["on_poweroff", "on_reboot", "on_crash"] { #expect(text.contains("<\(way)>destroy</\(way)>")) }
    }

    @Test("the console's file is read back from the XML that libvirt writes")
    func console() throws {
        let text = """
            <domain><devices>
              <disk type='file' device='disk'>
                <driver name='qemu' type='qcow2'/>
                <source file='/a &amp; b.qcow2' index='2'/>
                <backingStore type='file'><source file='/base.raw'/></backingStore>
              </disk>
              <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>
              <serial type='pty'><target port='1'/></serial>
              <serial type='file'><source path='/c&apos;s.log' append='on'/><target port='0'/></serial>
            </devices></domain>
            """
        let description = DomainDescription(text)
        #expect(description.disks.map(\.file) == ["/a & b.qcow2"])
        #expect(description.consoleFile == "/c's.log")
    }
}
