import Abstractions

extension BlockDevice {
    /// The volumes of a disk: its file system when that fills the whole disk, else the partitions of its GPT or MBR, logical
    /// ones included, with the numbers that Linux gives them.
    ///
    /// - Throws: `corrupt` for a table that cannot be right: a partition outside the disk or over another one, a broken chain.
    public func volumes() throws -> [Volume] {
        let table = try MasterBootRecord(self)
        let system = try FileSystemMark.find(on: self, at: 0, size: size)
        // Partitioning leaves an old superblock of the whole disk where it was, 1 KiB in; making ext wipes an old table.
        if let system, !(system.name.hasPrefix("ext") && table?.isSound(in: size) == true) {
            return [
                Volume(
                    id: .whole, offset: ByteCount(0), size: ByteCount(size), fileSystem: system.name,
                    label: system.label)
            ]
        }
        guard let table else { return [] }
        let gpt = table.protectsGPT ? try GUIDPartitionTable(self) : nil
        let partitions = try gpt?.partitions ?? table.partitions + LogicalPartitions.find(on: self, in: table.extended)
        try checkPlaces(partitions)
        return try partitions.map { partition in
            let system = try FileSystemMark.find(on: self, at: partition.start, size: partition.size)
            return Volume(
                id: .partition(partition.number), offset: ByteCount(partition.start), size: ByteCount(partition.size),
                fileSystem: system?.name, label: system?.label, name: partition.name, warning: gpt?.warning)
        }
    }

    private func checkPlaces(_ partitions: [Partition]) throws {
        for partition in partitions where !partition.isInside(size) {
            throw BackendError(
                .corrupt, "disk.volumes",
                "partition \(partition.number) is not inside the disk of \(size) bytes", blame: .disk)
        }
        let sorted = partitions.sorted { $0.start < $1.start }
        for (first, second) in zip(sorted, sorted.dropFirst()) where first.start + first.size > second.start {
            throw BackendError(
                .corrupt, "disk.volumes",
                "partitions \(first.number) and \(second.number) overlap at byte \(second.start)", blame: .disk)
        }
    }
}

extension VirtualDisk {
    /// The volumes of the committed content.
    ///
    /// - Throws: what `BlockDevice.volumes` does; `corrupt` on a disk open for writing whose partition table needs repair.
    public func volumes() throws -> [Volume] {
        let volumes = try content.volumes()
        if mode == .readWrite, let warning = volumes.lazy.compactMap(\.warning).first {
            throw BackendError(
                .corrupt, "disk.volumes", "\(image.path) can only be read: \(warning)", blame: .disk)
        }
        return volumes
    }
}

/// A partition, in bytes.
struct Partition: Sendable, Hashable {
    var number: Int
    var start: Int64
    var size: Int64
    var name: String?

    func isInside(_ disk: Int64) -> Bool { start >= 512 && start < disk && size <= disk - start }
}
