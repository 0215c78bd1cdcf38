import Abstractions
import CHost
import Host

/// Runs libvirt's start on the first CPU that this process may use.
///
/// libvirt throws its cache of what an emulator can do away when the host's CPUID differs from the cached one, and one leaf of
/// it (0x1f) carries the number of the CPU that it was read on: on two CPUs every second start would probe anew, for 1.5 s.
enum OneCPU {
    /// The 1,024 CPUs of the kernel's `cpu_set_t`.
    private static let words = 16

    /// Runs `body` on one CPU; afterwards this thread and those that it has started may run where they could before.
    static func running<Value>(_ body: () throws -> Value) rethrows -> Value {
        var allowed = [UInt](repeating: 0, count: words)
        guard av_get_affinity(0, &allowed, words * MemoryLayout<UInt>.size) > 0,
            let word = allowed.firstIndex(where: { $0 != 0 })
        else { return try body() }
        var first = [UInt](repeating: 0, count: words)
        first[word] = allowed[word] & (~allowed[word] + 1)
        guard av_set_affinity(0, first, words * MemoryLayout<UInt>.size) == 0 else { return try body() }
        defer {
            for name in HostFiles.names(in: "/proc/self/task") {
                guard let thread = Int32(name) else { continue }
                _ = av_set_affinity(thread, allowed, words * MemoryLayout<UInt>.size)
            }
        }
        return try body()
    }
}
