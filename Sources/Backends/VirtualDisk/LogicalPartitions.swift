import Abstractions

/// The logical partitions, a chain of boot records inside an extended partition.
///
/// ```
///   extended partition   EBR 1 ---- logical 5      each EBR looks like an MBR: entry 1 is a partition, counted from the EBR,
///                          `------> EBR 2 ---- logical 6         entry 2 the next EBR, counted from the extended partition
/// ```
/// Numbered from 5 in the chain's order, as Linux does (block/partitions/msdos.c); an entry without sectors gets no number.
enum LogicalPartitions {
    /// Linux has at most 256 partitions on a disk.
    private static let limit = 252

    /// The partitions of all chains.
    ///
    /// - Throws: `corrupt` for a chain that leaves its extended partition, comes back to itself, breaks off or has no end.
    static func find(on device: some BlockDevice, in extended: [Partition]) throws -> [Partition] {
        var found: [Partition] = []
        for area in extended {
            guard area.isInside(device.size) else {
                throw corrupt("extended partition \(area.number) is not inside the disk of \(device.size) bytes")
            }
            try follow(device, area, &found)
        }
        return found
    }

    private static func follow(_ device: some BlockDevice, _ area: Partition, _ found: inout [Partition]) throws {
        var seen: Set<Int64> = []
        var next: Int64? = area.start
        while let place = next {
            guard place >= area.start, place <= area.start + area.size - 512 else {
                throw corrupt("the boot record at byte \(place) is not inside extended partition \(area.number)")
            }
            guard seen.insert(place).inserted else {
                throw corrupt("the boot records of extended partition \(area.number) come back to byte \(place)")
            }
            guard seen.count <= limit else {
                throw corrupt("extended partition \(area.number) has more than \(limit) boot records")
            }
            let record = try device.bytes(at: place, count: 512)
            guard record[510] == 0x55, record[511] == 0xaa else {
                // One that was never used has no first record.
                if place == area.start { return }
                throw corrupt("there is no boot record at byte \(place), where the chain of logical partitions goes on")
            }
            next = try read(record, at: place, area, &found)
        }
    }

    /// Adds a record's partition and says where the next record is.
    private static func read(
        _ record: [UInt8], at place: Int64, _ area: Partition, _ found: inout [Partition]
    ) throws -> Int64? {
        var next: Int64?
        for entry in [446, 462] {
            let (type, start, size) = (
                record[entry + 4], Int64(record.u32(entry + 8)) * 512, Int64(record.u32(entry + 12)) * 512
            )
            guard type != 0, size > 0 else { continue }
            if MasterBootRecord.isExtended(type) {
                next = next ?? area.start + start
                continue
            }
            let partition = Partition(number: 5 + found.count, start: place + start, size: size)
            guard partition.start > place, partition.start + size <= area.start + area.size else {
                throw corrupt("logical partition \(partition.number) is not inside extended partition \(area.number)")
            }
            found.append(partition)
        }
        return next
    }

    private static func corrupt(_ what: String) -> BackendError {
        BackendError(.corrupt, "disk.volumes", what, blame: .disk)
    }
}
