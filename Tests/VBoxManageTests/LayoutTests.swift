import Abstractions
import BackendSupport
import Host
import Testing

@testable import VBoxManageBackend

@Suite("what is made for a machine")
struct LayoutTests {
    private func layout(_ place: HostPath, _ change: (inout MachineSpec) -> Void = { _ in }) -> MachineLayout {
        var spec = MachineSpec(
            id: "anyvisor-t-1", cpus: 2, memory: ByteCount((32 << 20) + 1),
            disks: [
                DiskAttachment(DiskImage(path: place.appending("sys.vdi"), format: .vdi), role: .system),
                DiskAttachment(DiskImage(path: place.appending("io.raw"), format: .raw), role: .io),
                DiskAttachment(DiskImage(path: place.appending("ro.vhd"), format: .vhd), role: .io, readOnly: true),
            ])
        change(&spec)
        return MachineLayout(spec, folder: MachineFolder(path: place.appending("anyvisor-t-1")), uuid: "U")
    }

    /// What follows a word in a command.
    private func value(_ name: String, _ command: [String]) -> String? {
        command.firstIndex(of: name).map { command[$0 + 1] }
    }

    @Test("disks go onto IDE in their order; the IO disk and a read-only one take no part in snapshots")
    func disks() {
        let disks = layout("/p").commands.filter { $0[0] == "storageattach" }
        #expect(disks.map { value("--medium", $0) } == ["/p/sys.vdi", "/p/anyvisor-t-1/disk1.vmdk", "/p/ro.vhd"])
        #expect(disks.map { value("--mtype", $0) } == ["normal", "writethrough", "immutable"])
        #expect(disks.map { [value("--port", $0), value("--device", $0)] } == [["0", "0"], ["0", "1"], ["1", "0"]])
    }

    @Test("memory is rounded up to MiB, the network is none unless asked for, the cdrom is last and boots")
    func settings() {
        let plain = layout("/p").commands[1]
        #expect(value("--memory", plain) == "33" && value("--cpus", plain) == "2" && value("--nic1", plain) == "none")
        #expect(value("--boot1", plain) == "disk" && plain.last == "/p/anyvisor-t-1/console.log")
        let other = layout("/p") {
            $0.boot = .cdrom("/p/cd.iso")
            $0.network = .user
            $0.consoleLog = "/p/log"
        }.commands
        #expect(value("--boot1", other[1]) == "dvd" && value("--nic1", other[1]) == "nat" && other[1].last == "/p/log")
        #expect(other.last?.suffix(4) == ["--type", "dvddrive", "--medium", "/p/cd.iso"])
        #expect(other.last.map { [value("--port", $0), value("--device", $0)] } == ["1", "1"])
    }

    @Test("a raw image is named by a text beside the machine, and stays as it is")
    func raw() async throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        let image = place.appending("io.raw")
        try HostFiles.write([UInt8](repeating: 7, count: 2048), to: image)
        let layout = layout(place)
        try await layout.makeFiles()
        let text = try HostFiles.readText(layout.folder.files.descriptor(1))
        #expect(text.contains("\nRW 4 FLAT \"\(image)\" 0\n"))
        #expect(try HostFiles.read(image) == [UInt8](repeating: 7, count: 2048))
        #expect(HostFiles.size(layout.console) == 0)
        #expect(layout.folder.imageFiles.map(\.name) == ["sys.vdi", "io.raw", "ro.vhd"])
    }

    @Test("raw images that VirtualBox cannot take are refused")
    func refused() throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        for (name, size) in [("empty", 0), ("odd", 1000), ("quo\"te", 512), ("line\nbreak", 512)] {
            let image = place.appending(name)
            try HostFiles.write([UInt8](repeating: 0, count: size), to: image)
            let refusal = #expect(throws: BackendError.self) { try RawDisk(image) }
            #expect(refusal?.code == .invalidArgument)
        }
        let missing = #expect(throws: BackendError.self) { try RawDisk(place.appending("missing")) }
        #expect(missing?.code == .notFound)
    }
}
