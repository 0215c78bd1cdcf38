import Abstractions
import BackendSupport
import Clibvirt
import Host

/// Reads the file that QEMU writes the serial console to.
struct LibvirtConsole: ConsoleFacet {
    let machine: LibvirtMachine
    let file: HostPath?
    let earlier: EarlierConsole?

    func read(offset: Int64, count: Int) async throws -> [UInt8] {
        guard offset >= 0, count >= 0 else {
            throw BackendError(.invalidArgument, "console.read", "offset \(offset) or count \(count) is below zero")
        }
        if try await machine.presentState("console.read") == .running { await machine.followTerminal() }
        guard let file else { return [] }
        return try await onOwnThread { [earlier] in
            Result {
                let count = min(count, 1 << 20)
                return try earlier?.read(offset, count) ?? ConsoleFile.read(file, offset, count)
            }
        }.get()
    }
}

/// Holds a guest still.
struct LibvirtPause: PauseFacet {
    let machine: LibvirtMachine

    func pause() async throws {
        try await change("pause.pause", from: .running, to: .paused) { virDomainSuspend($0) }
    }

    func resume() async throws {
        try await change("pause.resume", from: .paused, to: .running) { virDomainResume($0) }
    }

    private func change(
        _ operation: String, from: MachineState, to: MachineState,
        _ body: @escaping @Sendable (OpaquePointer) -> Int32
    ) async throws {
        let (machine, record) = (machine, machine.record)
        try await record.call(operation) {
            try machine.connection.withDomain(operation, record) { domain in
                let now = try currentState(domain, record)
                if now == to { return }
                guard now == from else {
                    throw machine.wrongState(operation, now, "this takes a machine that is \(from.rawValue)")
                }
                guard body(domain) == 0 else { throw libvirtError(operation, "machine '\(record.id)'") }
                if machine.connection.isSilent { record.observe(to) }
            }
        }
    }
}

/// Counters by libvirt: processor time from the host's scheduler, memory as the host sees it, bytes from QEMU's disks.
struct LibvirtStatistics: StatisticsFacet {
    let machine: LibvirtMachine

    func sample() async throws -> MachineStatistics {
        let (machine, record) = (machine, machine.record)
        return try await record.call("statistics.sample") {
            try machine.connection.withDomain("statistics.sample", record) { domain in
                let now = try currentState(domain, record)
                guard now == .running || now == .paused else {
                    throw machine.wrongState("statistics.sample", now, "only a running or paused machine counts")
                }
                return LibvirtStatistics.counters(of: domain)
            }
        }
    }

    /// What one call does not answer stays nil.
    private static func counters(of domain: OpaquePointer) -> MachineStatistics {
        var statistics = MachineStatistics()
        var info = virDomainInfo()
        if virDomainGetInfo(domain, &info) == 0 { statistics.cpuNanoseconds = Int64(clamping: info.cpuTime) }
        var memory = [virDomainMemoryStatStruct](
            repeating: .init(), count: Int(VIR_DOMAIN_MEMORY_STAT_NR.rawValue))
        let count = virDomainMemoryStats(domain, &memory, UInt32(memory.count), 0)
        let resident = memory.prefix(Int(max(0, count))).first { $0.tag == VIR_DOMAIN_MEMORY_STAT_RSS.rawValue }
        // libvirt counts memory in KiB.
        statistics.memory = resident.map { ByteCount.kib(Int64(clamping: $0.val)) }
        var disks = virDomainBlockStatsStruct()
        // The empty name stands for all disks together.
        if virDomainBlockStats(domain, "", &disks, MemoryLayout.size(ofValue: disks)) == 0 {
            statistics.diskRead = disks.rd_bytes >= 0 ? ByteCount(disks.rd_bytes) : nil
            statistics.diskWritten = disks.wr_bytes >= 0 ? ByteCount(disks.wr_bytes) : nil
        }
        return statistics
    }
}
