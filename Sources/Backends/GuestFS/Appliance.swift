import Abstractions
import CGuestfs
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What the small machine of libguestfs needs on this host, and how it is found among the processes.
enum Appliance {
    /// Where libguestfs keeps the machine's disk, which supermin makes once.
    static var cache: HostPath { HostEnvironment.cache.appending("guestfs") }

    /// Why it cannot start here; nil when it may.
    static func problem() -> BackendError? {
        findings().first { $0.isObstacle }.map { finding in
            BackendError(
                .unavailable, "disk.open", "\(finding.detail)\(finding.remedy.map { "; \($0)" } ?? "")", blame: .host)
        }
    }

    /// One line for each thing it needs.
    static func findings() -> [Finding] {
        [kernel(), supermin(), program("qemu-system-x86_64", package: "qemu-system-x86")]
    }

    private static func program(_ name: String, package: String) -> Finding {
        if let path = HostEnvironment.program(name) { return Finding(name, .good, path.string) }
        return Finding(name, .bad, "\(name) is not installed", remedy: "`apt install \(package)` as root cures it")
    }

    private static func supermin() -> Finding {
        let found = program("supermin", package: "supermin")
        if found.status != .good { return found }
        for folder in folders where HostFiles.isDirectory(folder.appending("supermin.d")) {
            return Finding("appliance", .good, folder.appending("supermin.d").string)
        }
        return Finding(
            "appliance", .bad, "the appliance's description supermin.d is missing",
            remedy: "`apt install libguestfs0` as root brings it, or LIBGUESTFS_PATH names its folder")
    }

    private static var folders: [HostPath] {
        let given =
            HostEnvironment.variable("LIBGUESTFS_PATH")?.split(separator: ":").map { HostPath(String($0)) } ?? []
        return given + ["/usr/lib/x86_64-linux-gnu/guestfs", "/usr/lib64/guestfs", "/usr/lib/guestfs"]
    }

    /// supermin takes a kernel of the host that has its modules here.
    private static func kernel() -> Finding {
        let names = HostFiles.names(in: "/boot").filter { $0.hasPrefix("vmlinuz-") }
        let usable = names.filter { HostFiles.isDirectory(HostPath("/lib/modules/\($0.dropFirst(8))")) }
        guard let first = usable.last else {
            return Finding(
                "kernel", .bad, "/boot has no kernel for the appliance",
                remedy: "`apt install linux-image-cloud-amd64` as root brings one")
        }
        guard let readable = usable.last(where: { access("/boot/\($0)", R_OK) == 0 }) else {
            return Finding(
                "kernel", .bad, "/boot/\(first) cannot be read by this user",
                remedy: "`chmod 0644 /boot/vmlinuz-*` as root cures it")
        }
        return Finding("kernel", .good, "/boot/\(readable)")
    }

    /// Kills the QEMU that has this socket on its command line; nothing there is no error.
    static func kill(using socket: HostPath) {
        for process in processes(using: socket) { process.signal(SIGKILL) }
    }

    /// Whether there is such a QEMU.
    static func isRunning(using socket: HostPath) -> Bool { !processes(using: socket).isEmpty }

    /// Whether somebody stopped that QEMU.
    static func isStopped(using socket: HostPath) -> Bool {
        processes(using: socket).contains { ProcessIdentity.isStopped($0.pid) }
    }

    /// The folder of the sockets to the appliance: as root the library makes it in `/tmp`, whatever it is told, and only QEMU's
    /// command line tells its name. Nil before QEMU runs.
    static func socketFolder(using socket: HostPath) -> HostPath? {
        for process in processes(using: socket) {
            let command = (try? HostFiles.readText(HostPath("/proc/\(process.pid)/cmdline"))) ?? ""
            for word in command.split(separator: "\0") where word.hasSuffix("id=channel0") {
                for part in word.split(separator: ",") where part.hasPrefix("path=/tmp/libguestfs") {
                    return HostPath(String(part.dropFirst(5))).parent
                }
            }
        }
        return nil
    }

    private static func processes(using socket: HostPath) -> [ProcessIdentity] {
        HostFiles.names(in: "/proc").compactMap { Int32($0) }.filter { $0 != getpid() }.compactMap { pid in
            guard let command = try? HostFiles.readText(HostPath("/proc/\(pid)/cmdline")),
                command.contains(socket.string), command.contains("qemu")
            else { return nil }
            return ProcessIdentity(pid: pid)
        }
    }
}
