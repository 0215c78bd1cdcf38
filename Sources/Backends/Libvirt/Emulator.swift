import Abstractions
import Host

/// Finds the process of a machine on this host.
enum Emulator {
    /// The process that runs the machine, nil when there is none.
    ///
    /// - Parameter mark: what is in its command line, so that a number used again by another is not mistaken for it.
    static func find(_ id: MachineID, mark: String, root: EmbeddedRoot?) -> ProcessIdentity? {
        if let root {
            guard let text = try? HostFiles.readText(root.pidFile(of: id)),
                let pid = Int32(text.prefix { $0.isNumber }), runs(pid, mark)
            else { return nil }
            return ProcessIdentity(pid: pid)
        }
        return HostFiles.names(in: "/proc").compactMap { Int32($0) }.first { runs($0, mark) }
            .flatMap { ProcessIdentity(pid: $0) }
    }

    private static func runs(_ pid: Int32, _ mark: String) -> Bool {
        let command = (try? HostFiles.read(HostPath("/proc/\(pid)/cmdline"))) ?? []
        return command.firstRange(of: Array(mark.utf8)) != nil
    }
}
