import Abstractions
import BackendSupport
import Host
import Testing

@testable import VBoxManageBackend

@Suite("the CD that boots a kernel of the host", .enabled(if: KernelDisc.isPossible, "no xorriso or ISOLINUX here"))
struct KernelDiscTests {
    @Test("it has the kernel, the initramfs and the command line; the boot loader of the host stays as it is")
    func content() async throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        let kernel = place.appending("vmlinuz=1")
        let initrd = place.appending("in\\itrd")
        try HostFiles.write(Array("the kernel".utf8), to: kernel)
        try HostFiles.write(Array("the initramfs".utf8), to: initrd)
        let loader = HostPath("/usr/lib/ISOLINUX/isolinux.bin")
        let before = try HostFiles.read(loader)
        var spec = MachineSpec(id: "anyvisor-t-1", memory: .mib(32))
        spec.boot = .kernel(.init(kernel: kernel, initrd: initrd, commandLine: "console=ttyS0 quiet"))
        let layout = MachineLayout(spec, folder: MachineFolder(path: place.appending("anyvisor-t-1")), uuid: "U")
        try await layout.makeFiles()
        #expect(
            layout.commands.last?.suffix(4) == [
                "--type", "dvddrive", "--medium", layout.folder.files.kernelDisc.string,
            ])
        #expect(try HostFiles.read(loader) == before)
        func content(_ name: String) async throws -> String {
            let copy = place.appending("copy")
            try? HostFiles.removeTree(copy)
            _ = try await Tool.check(
                "xorriso",
                [
                    "-osirrox", "on", "-indev", layout.folder.files.kernelDisc.string, "-extract", "/\(name)",
                    copy.string,
                ])
            return try HostFiles.readText(copy)
        }
        #expect(try await content("kernel") == "the kernel")
        #expect(try await content("initrd") == "the initramfs")
        #expect(
            try await content("isolinux.cfg")
                == "DEFAULT linux\nPROMPT 0\nLABEL linux\nLINUX /kernel\nAPPEND initrd=/initrd console=ttyS0 quiet\n")
    }

    @Test("a command line of many lines, or one that is longer than Linux takes, is refused")
    func commandLine() {
        for line in ["a\nLABEL b", String(repeating: "a", count: 2_001)] {
            let disc = KernelDisc(boot: .init(kernel: "/k", initrd: nil, commandLine: line))
            let refusal = #expect(throws: BackendError.self) { try disc.settings() }
            #expect(refusal?.code == .invalidArgument)
        }
    }
}
