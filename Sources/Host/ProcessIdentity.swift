import Abstractions
import CHost

#if canImport(Glibc)
    import Glibc
#endif

/// A process that cannot be mistaken for a later one with the same number.
public struct ProcessIdentity: Sendable, Hashable, Codable {
    /// Its number.
    public let pid: Int32
    /// Its start in clock ticks since boot: field 22 of `/proc/PID/stat`, see proc(5).
    public let startTicks: UInt64

    /// The process with this number now, nil when there is none or it is a zombie.
    public init?(pid: Int32) {
        guard let fields = Self.fields(of: pid), fields.count > 19, fields[0] != "Z", fields[0] != "X",
            let ticks = UInt64(fields[19])
        else { return nil }
        self.pid = pid
        startTicks = ticks
    }

    /// Whether this very process still runs.
    public var isAlive: Bool { ProcessIdentity(pid: pid) == self }

    /// Sends a signal if it is still this process.
    public func signal(_ number: Int32) { if isAlive { kill(pid, number) } }

    /// Kills these processes, and blocks until none is left or the time is over: what they held is free then.
    public static func end(_ processes: [ProcessIdentity], within limit: Duration) {
        processes.forEach { $0.signal(SIGKILL) }
        let end = ContinuousClock.now + limit
        while processes.contains(where: \.isAlive), ContinuousClock.now < end { usleep(1000) }
    }

    /// Whether somebody stopped the process with this number (SIGSTOP); a process under a debugger is not counted.
    public static func isStopped(_ pid: Int32) -> Bool {
        fields(of: pid)?.first == "T"
    }

    /// All processes that carry the run's mark in their environment, or its machine names in their command line.
    public static func all(ofRun id: String) -> [ProcessIdentity] {
        matching(environment: "ANYVISOR_RUN=\(id)", command: "anyvisor-\(id)-")
    }

    /// All processes that have the variable with this value in their environment.
    public static func all(withVariable name: String, _ value: String) -> [ProcessIdentity] {
        matching(environment: "\(name)=\(value)", command: nil)
    }

    private static func matching(environment mark: String, command name: String?) -> [ProcessIdentity] {
        let mark = Array("\(mark)\0".utf8)
        return HostFiles.names(in: "/proc").compactMap { Int32($0) }.filter { $0 != getpid() }.compactMap { pid in
            let environment = environment(of: pid)
            if contains(environment + [0], mark) { return ProcessIdentity(pid: pid) }
            guard let name else { return nil }
            let command = (try? HostFiles.read(HostPath("/proc/\(pid)/cmdline"))) ?? []
            guard contains(command, Array(name.utf8)) else { return nil }
            return ProcessIdentity(pid: pid)
        }
    }

    /// The environment's bytes, empty when they cannot be read.
    ///
    /// A process that is just being started has none for a moment: whoever started it goes on at the beginning of its exec, and
    /// the kernel notes the place of the environment only at the end (`begin_new_exec` and `create_elf_tables` in Linux's fs/).
    private static func environment(of pid: Int32) -> [UInt8] {
        let path = HostPath("/proc/\(pid)/environ")
        for _ in 0..<500 {
            guard let bytes = try? HostFiles.read(path), bytes.isEmpty else { break }
            // A kernel thread has no program, a dead process none any more.
            guard HostFiles.resolved(HostPath("/proc/\(pid)/exe")) != nil, !hasEnvironmentsEnd(pid) else { break }
            usleep(1000)
        }
        return (try? HostFiles.read(path)) ?? []
    }

    /// Whether the kernel has noted where the process's environment ends: field 51 of `/proc/PID/stat`, see proc(5).
    private static func hasEnvironmentsEnd(_ pid: Int32) -> Bool {
        guard let fields = fields(of: pid), fields.count > 48 else { return true }
        return fields[48] != "0"
    }

    /// What `/proc/PID/stat` says from field 3 on, the state; nil when there is no such process.
    package static func fields(of pid: Int32) -> [Substring]? {
        guard let text = try? HostFiles.readText(HostPath("/proc/\(pid)/stat")), let close = text.lastIndex(of: ")")
        else { return nil }
        return text[text.index(after: close)...].split(separator: " ")
    }

    private static func contains(_ haystack: [UInt8], _ needle: [UInt8]) -> Bool {
        guard haystack.count >= needle.count else { return false }
        return haystack.withUnsafeBytes { hay in
            needle.withUnsafeBytes { memmem(hay.baseAddress, hay.count, $0.baseAddress, $0.count) != nil }
        }
    }
}
