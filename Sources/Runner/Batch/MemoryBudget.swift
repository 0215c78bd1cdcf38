import Abstractions
import Host

/// The host's memory that machines running at once may have. Who asks first gets first, however much the next ones would leave idle.
public actor MemoryBudget {
    /// What a hypervisor needs for itself beside each machine's memory.
    public static let overhead = ByteCount.mib(64)

    private struct Waiter {
        var number: Int
        var bytes: Int64
        var continuation: CheckedContinuation<Void, any Error>
    }

    private let capacity: Int64
    private var free: Int64
    private var waiters: [Waiter] = []
    private var lastNumber = 0

    /// A budget of so many bytes, overheads included.
    public init(_ capacity: ByteCount) {
        self.capacity = capacity.bytes
        free = capacity.bytes
    }

    /// Nine tenths of the memory that is available now: `MemAvailable` of proc(5), or what the control groups leave of it.
    ///
    /// - Throws: `internal` when the kernel does not say.
    public static func ofHost() throws -> MemoryBudget {
        let line = try HostFiles.readText("/proc/meminfo").split(separator: "\n").first {
            $0.hasPrefix("MemAvailable:")
        }
        guard let fields = line?.split(separator: " "), fields.count == 3, let kib = Int64(fields[1]) else {
            throw BackendError(.internal, "memory", "/proc/meminfo does not say how much is available", blame: .host)
        }
        let available = min(kib << 10, ControlGroup.availableMemory() ?? .max)
        return MemoryBudget(ByteCount(available / 10 * 9))
    }

    /// Whether a machine with this much memory fits when it is alone.
    ///
    /// - Throws: `unavailable` when it never does.
    public nonisolated func check(_ memory: ByteCount) throws {
        guard Self.bytes(memory) > capacity else { return }
        throw BackendError(
            .unavailable, "memory",
            "the machine needs \(memory) of memory and \(Self.overhead) for its hypervisor, this host has "
                + "\(ByteCount(capacity)) for machines; lower machine.memory, free memory or raise the limit of its control group",
            blame: .host)
    }

    /// How many machines with this much memory fit at once.
    public nonisolated func machines(of memory: ByteCount) -> Int { Int(capacity / Self.bytes(memory)) }

    /// Waits until a machine with this much memory fits; `giveBack` must follow.
    ///
    /// - Throws: `unavailable` when it never does, `CancellationError`.
    public func take(_ memory: ByteCount) async throws {
        try check(memory)
        lastNumber += 1
        let (number, bytes) = (lastNumber, Self.bytes(memory))
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                waiters.append(Waiter(number: number, bytes: bytes, continuation: continuation))
                admit()
            }
        } onCancel: {
            // Comes to its turn after the waiter is in the queue, also when the task was cancelled before.
            Task { await giveUp(number) }
        }
    }

    /// Returns what `take` gave.
    public func giveBack(_ memory: ByteCount) {
        free += Self.bytes(memory)
        admit()
    }

    /// How many wait.
    var waiting: Int { waiters.count }

    private func admit() {
        while let first = waiters.first, first.bytes <= free {
            free -= first.bytes
            waiters.removeFirst().continuation.resume()
        }
    }

    private func giveUp(_ number: Int) {
        guard let index = waiters.firstIndex(where: { $0.number == number }) else { return }
        waiters.remove(at: index).continuation.resume(throwing: CancellationError())
        admit()
    }

    private static func bytes(_ memory: ByteCount) -> Int64 {
        let (sum, isTooMuch) = memory.bytes.addingReportingOverflow(overhead.bytes)
        return isTooMuch ? .max : sum
    }
}
