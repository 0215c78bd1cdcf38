import Abstractions

extension VirtualDisk {
    /// Whether images of QEMU's formats can be opened here; a warning when not, since all others can.
    public static func foreignFinding() -> Finding {
        let subject = "qcow2, vmdk, vhdx"
        do {
            _ = try NBDLibrary()
            for (program, package) in [
                ("qemu-nbd", "qemu-utils"), ("setpriv", "util-linux"), ("prlimit", "util-linux"),
            ] {
                _ = try ForeignServer.program(program, package: package)
            }
            return Finding(subject, .good, "qemu-nbd and libnbd")
        } catch {
            let parts = BackendError.wrapping(error, "disk.check").message.split(separator: ";", maxSplits: 1)
            return Finding(
                subject, .warning, parts.first.map(String.init) ?? "",
                remedy: parts.dropFirst().first.map { $0.drop { $0 == " " }.description })
        }
    }
}
