import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The host as it was: what a reader of the numbers has to know about where they come from.
public struct HostFacts: Sendable, Hashable, Codable {
    /// When it was looked at, in milliseconds since 1970.
    public var timeMs: Int64
    /// The processor's model.
    public var cpu: String
    /// Its flags, as the kernel names them.
    public var cpuFlags: String
    /// Processors that are online.
    public var cores: Int
    /// Bytes of memory.
    public var memory: Int64
    /// The kernel's release.
    public var kernel: String
    /// What sets the processor's clock, nil when the kernel does not say.
    public var governor: String?
    /// Loads of the last 1, 5 and 15 minutes.
    public var load: [Double]
    /// Whether this host is itself a virtual machine.
    public var isNested: Bool
    /// How often the processor was slowed down because it was hot, since the host booted; nil when the kernel does not say.
    public var throttles: Int?
    /// Versions: of anyvisor, and of each backend that is compared, in its own words.
    public var versions: [String: String]
    /// Identities of the images that were run, by name.
    public var images: [String: String]

    /// This host now.
    public static func now(versions: [String: String] = [:], images: [String: String] = [:]) -> HostFacts {
        let processor = text("/proc/cpuinfo")
        func field(_ name: String, in text: String) -> String? {
            text.split(separator: "\n").first { $0.hasPrefix(name) }?.split(separator: ":", maxSplits: 1).last
                .map { String($0.drop { $0 == " " }) }
        }
        let flags = field("flags", in: processor) ?? ""
        let memory =
            field("MemTotal", in: text("/proc/meminfo"))?.split(separator: " ").first.flatMap { Int64($0) } ?? 0
        var throttles: Int?
        for core in 0..<Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) {
            let count = "/sys/devices/system/cpu/cpu\(core)/thermal_throttle/core_throttle_count"
            if let number = Int(line(count)) { throttles = (throttles ?? 0) + number }
        }
        let governor = line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return HostFacts(
            timeMs: WallClock.now, cpu: field("model name", in: processor) ?? "unknown", cpuFlags: flags,
            cores: Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))), memory: memory << 10,
            kernel: line("/proc/sys/kernel/osrelease"), governor: governor.isEmpty ? nil : governor,
            load: loads,
            isNested: flags.split(separator: " ").contains("hypervisor"), throttles: throttles, versions: versions,
            images: images)
    }

    /// Loads of the last 1, 5 and 15 minutes.
    static var loads: [Double] { text("/proc/loadavg").split(separator: " ").prefix(3).compactMap { Double($0) } }

    /// Seconds of processor time taken from this host by the one below it, since it booted: `steal` of proc(5).
    static var steal: Double {
        let fields = text("/proc/stat").split(separator: "\n").first?.split(separator: " ") ?? []
        guard fields.count > 8, let ticks = Double(fields[8]) else { return 0 }
        return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private static func text(_ path: String) -> String { (try? HostFiles.readText(HostPath(path))) ?? "" }

    private static func line(_ path: String) -> String { String(text(path).prefix { $0 != "\n" }) }
}
