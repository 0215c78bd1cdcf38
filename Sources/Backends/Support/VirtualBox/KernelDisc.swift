import Abstractions
import Host

/// A CD that boots a kernel of the host, since VirtualBox itself loads none: ISOLINUX, its settings, the kernel and its initramfs.
///
/// To the guest it is one more drive, without anything that it has to read.
package struct KernelDisc: Sendable {
    let boot: MachineSpec.KernelBoot

    /// - Parameter boot: the kernel, its initramfs and its command line.
    package init(boot: MachineSpec.KernelBoot) { self.boot = boot }

    /// The boot loader, and the part of it that it loads first; where Debian, Fedora and Arch have them.
    private static let loaders: [(loader: HostPath, library: HostPath)] = [
        ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"),
        ("/usr/share/syslinux/isolinux.bin", "/usr/share/syslinux/ldlinux.c32"),
        ("/usr/lib/syslinux/bios/isolinux.bin", "/usr/lib/syslinux/bios/ldlinux.c32"),
    ]
    private static let writer = "xorriso"
    private static var found: (loader: HostPath, library: HostPath)? {
        loaders.first { HostFiles.exists($0.loader) && HostFiles.exists($0.library) }
    }

    /// Whether this host can make one.
    package static var isPossible: Bool { found != nil && HostEnvironment.program(writer) != nil }
    /// How this host comes to make one.
    package static let remedy = "install xorriso, isolinux and syslinux-common"

    /// Linux takes 2,047 bytes (COMMAND_LINE_SIZE); ISOLINUX adds `BOOT_IMAGE=/kernel initrd=/initrd`.
    private static let longestCommandLine = 2_000

    /// ISOLINUX's settings: start at once, without a word.
    ///
    /// - Throws: `invalidArgument` for a command line that they cannot hold.
    package func settings() throws -> String {
        let line = boot.commandLine
        guard line.utf8.count <= Self.longestCommandLine, !line.utf8.contains(where: { $0 < 0x20 }) else {
            throw BackendError(
                .invalidArgument, "machine.create",
                "the kernel's command line must have at most \(Self.longestCommandLine) bytes and no control character",
                blame: .caller)
        }
        let initrd = boot.initrd == nil ? "" : "initrd=/initrd "
        return "DEFAULT linux\nPROMPT 0\nLABEL linux\nLINUX /kernel\nAPPEND \(initrd)\(line)\n"
    }

    /// Makes the CD.
    ///
    /// - Parameter settingsFile: where ISOLINUX's settings are written first.
    /// - Throws: `unsupported` where the tools are missing, `invalidArgument` for a command line, what xorriso says.
    func write(to disc: HostPath, settingsFile: HostPath) async throws {
        guard let found = Self.found else { throw Self.refusal }
        try HostFiles.write(Array(settings().utf8), to: settingsFile)
        var files = [
            ("isolinux.bin", found.loader), ("ldlinux.c32", found.library), ("isolinux.cfg", settingsFile),
            ("kernel", boot.kernel),
        ]
        if let initrd = boot.initrd { files.append(("initrd", initrd)) }
        // The boot loader needs the place of its own file written into it; xorriso does that on the CD, not in the host's file.
        let form = [
            "-as", "mkisofs", "-quiet", "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4",
            "-boot-info-table", "-o", disc.string, "-graft-points",
        ]
        _ = try await Tool.check(Self.writer, form + files.map { "\($0)=\(Self.escape($1))" })
    }

    /// Why a machine that boots a kernel is refused where the tools are missing.
    package static var refusal: BackendError {
        BackendError(
            .unsupported, "machine.create",
            "VirtualBox boots a kernel of the host only from a CD, which cannot be made here; \(remedy)", blame: .host)
    }

    /// A path in a graft point.
    private static func escape(_ path: HostPath) -> String {
        path.string.reduce(into: "") { text, character in
            if character == "=" || character == "\\" { text.append("\\") }
            text.append(character)
        }
    }
}
