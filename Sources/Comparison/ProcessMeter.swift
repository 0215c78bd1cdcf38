import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// What all processes of a measurement use: this process's children and theirs, and those that carry the run's mark.
///
/// Processor time of those that ended is the kernel's exact sum; peaks of memory and bytes written are as last seen, at most
/// `interval` before a process ended. Source of the fields: proc(5) and getrusage(2).
final class ProcessMeter: Sendable {
    /// How often the processes are looked at.
    static let interval = Duration.seconds(1)

    private struct Seen {
        var cpu = 0.0
        var peak: Int64 = 0
        var written: Int64 = 0
        /// What it had used before the measurement began.
        var cpuBefore = 0.0
        var writtenBefore: Int64 = 0
        /// Whether the kernel adds it to what our children used when it ends.
        var isOurs: Bool
    }

    private struct State {
        var seen: [ProcessIdentity: Seen] = [:]
        var foreign: [ProcessIdentity] = []
    }

    private let state = Mutex(State())
    private let childrenBefore = ProcessMeter.endedChildren
    private let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))

    /// Begins with what lives now.
    init() {
        look()
        state.withLock { state in
            state.seen = state.seen.mapValues { seen in
                var seen = seen
                (seen.cpuBefore, seen.writtenBefore) = (seen.cpu, seen.written)
                return seen
            }
        }
    }

    /// Looks again and again until the task is cancelled.
    func watch() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.interval)
            look()
        }
    }

    /// Finds processes of the run that are not ours, for example of a service that was there before.
    func findForeign(run: String) {
        let found = ProcessIdentity.all(ofRun: run)
        let ours = Self.descendants()
        state.withLock { $0.foreign = found.filter { !ours.contains($0.pid) && $0.pid != getpid() } }
        look()
    }

    /// Looks at every process once.
    func look() {
        let ours = Self.descendants().compactMap { ProcessIdentity(pid: $0) }
        state.withLock { state in
            for (process, isOurs) in ours.map({ ($0, true) }) + state.foreign.map({ ($0, false) }) {
                guard process.isAlive else { continue }
                var seen = state.seen[process] ?? Seen(isOurs: isOurs)
                let folder = "/proc/\(process.pid)"
                // From field 3 on: utime, stime, cutime and cstime are 14 to 17.
                if let fields = ProcessIdentity.fields(of: process.pid), fields.count > 14 {
                    seen.cpu = fields[11...14].reduce(0) { $0 + (Double($1) ?? 0) } / ticks
                }
                seen.peak = max(seen.peak, Self.number("VmHWM:", in: Self.text("\(folder)/status")) << 10)
                seen.written = max(seen.written, Self.number("write_bytes:", in: Self.text("\(folder)/io")))
                state.seen[process] = seen
            }
        }
    }

    /// What was used since the beginning.
    ///
    /// - Returns: `host.cpu` in seconds, `host.memory` (the sum of the peaks) and `host.written` in bytes.
    func values() -> [String: Quantity] {
        look()
        let ended = Self.endedChildren - childrenBefore
        return state.withLock { state in
            var (cpu, peak, written) = (ended, Int64(0), Int64(0))
            for (process, seen) in state.seen {
                // An ended child of ours is in the kernel's sum, with what it had used before.
                let isCounted = seen.isOurs && !process.isAlive
                cpu += (isCounted ? 0 : seen.cpu) - seen.cpuBefore
                peak += seen.peak
                written += max(0, seen.written - seen.writtenBefore)
            }
            return [
                "host.cpu": Quantity(max(0, cpu), "s"), "host.memory": Quantity(Double(peak), "bytes"),
                "host.written": Quantity(Double(written), "bytes"),
            ]
        }
    }

    private static var endedChildren: Double {
        var usage = rusage()
        getrusage(RUSAGE_CHILDREN.rawValue, &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    /// The numbers of this process's children, their children and so on.
    private static func descendants() -> Set<Int32> {
        var children: [Int32: [Int32]] = [:]
        for pid in HostFiles.names(in: "/proc").compactMap({ Int32($0) }) {
            guard let fields = ProcessIdentity.fields(of: pid), fields.count > 1, let parent = Int32(fields[1]) else {
                continue
            }
            children[parent, default: []].append(pid)
        }
        var found: Set<Int32> = []
        var open = [getpid()]
        while let pid = open.popLast() {
            for child in children[pid] ?? [] where found.insert(child).inserted { open.append(child) }
        }
        return found
    }

    private static func text(_ path: String) -> String { (try? HostFiles.readText(HostPath(path))) ?? "" }

    private static func number(_ name: String, in text: String) -> Int64 {
        let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
        return line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int64($0) } ?? 0
    }
}
