import Abstractions

extension BlockDevice {
    /// The volumes of a disk: its file system when that fills the whole disk, else the primary partitions of its MBR.
    ///
    /// - Throws: `unsupported` for a GPT, `corrupt` for a partition outside the disk.
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
        if table.protectsGPT {
            throw BackendError(
                .unsupported, "disk.volumes", "the disk has a GPT, which this version cannot read; MBR is known")
        }
        return try table.partitions.map { partition in
            guard partition.isInside(size) else {
                throw BackendError(
                    .corrupt, "disk.volumes",
                    "partition \(partition.number) is not inside the disk of \(size) bytes", blame: .disk)
            }
            let system = try FileSystemMark.find(on: self, at: partition.start, size: partition.size)
            return Volume(
                id: .partition(partition.number), offset: ByteCount(partition.start), size: ByteCount(partition.size),
                fileSystem: system?.name, label: system?.label)
        }
    }
}

/// A file system told by its magic numbers, with the names that `blkid` uses.
struct FileSystemMark {
    var name: String
    var label: String?

    static func find(on device: any BlockDevice, at start: Int64, size: Int64) throws -> FileSystemMark? {
        guard size >= 4096 else { return nil }
        let head = try device.bytes(at: start, count: 4096)
        if head.u16(1024 + 0x38) == 0xef53 { return ext(Array(head[1024..<2048])) }
        if text(head, 3, 8) == "NTFS" { return FileSystemMark(name: "ntfs", label: nil) }
        if text(head, 0, 4) == "XFSB" { return FileSystemMark(name: "xfs", label: text(head, 0x6c, 12)) }
        if head[510] == 0x55, head[511] == 0xaa {
            if text(head, 0x52, 5) == "FAT32" { return FileSystemMark(name: "vfat", label: fatLabel(head, 0x47)) }
            if text(head, 0x36, 3) == "FAT" { return FileSystemMark(name: "vfat", label: fatLabel(head, 0x2b)) }
        }
        if text(head, 4086, 10) == "SWAPSPACE2" { return FileSystemMark(name: "swap", label: text(head, 0x41c, 16)) }
        if size >= 0x11000, text(try device.bytes(at: start + 0x10000, count: 4096), 0x40, 8) == "_BHRfS_M" {
            return FileSystemMark(
                name: "btrfs", label: text(try device.bytes(at: start + 0x10000, count: 4096), 0x12b, 255))
        }
        return nil
    }

    /// ext2, 3 or 4 by their features (Linux, Documentation/filesystems/ext4/super.rst).
    private static func ext(_ superblock: [UInt8]) -> FileSystemMark {
        let (compatible, incompatible, readOnly) = (superblock.u32(0x5c), superblock.u32(0x60), superblock.u32(0x64))
        // Beyond filetype, recover, journal_dev and meta_bg, or sparse_super, large_file and btree_dir, only ext4 has.
        let isExt4 = incompatible & ~0x1e != 0 || readOnly & ~0x7 != 0
        let name = isExt4 ? "ext4" : compatible & 0x4 != 0 ? "ext3" : "ext2"
        return FileSystemMark(name: name, label: text(superblock, 0x78, 16))
    }

    private static func fatLabel(_ head: [UInt8], _ offset: Int) -> String? {
        guard let label = text(head, offset, 11), label != "NO NAME" else { return nil }
        return label
    }

    private static func text(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> String? {
        var part = Array(bytes[offset..<offset + count].prefix { $0 != 0 })
        while part.last == 0x20 { part.removeLast() }
        return part.isEmpty ? nil : GuestPath.name(of: part)
    }
}
