import Abstractions
import Host

/// Finds the process that runs a machine: `VBoxHeadless --comment NAME --startvm UUID …`, or VirtualBox's window.
enum HeadlessProcess {
    /// The process, nil when there is none.
    static func find(_ uuid: String) -> ProcessIdentity? {
        let mark = Array("\0--startvm\0\(uuid)\0".utf8)
        return HostFiles.names(in: "/proc").compactMap { Int32($0) }.first { pid in
            let command = (try? HostFiles.read(HostPath("/proc/\(pid)/cmdline"))) ?? []
            return command.firstRange(of: mark) != nil
        }
        .flatMap { ProcessIdentity(pid: $0) }
    }
}
