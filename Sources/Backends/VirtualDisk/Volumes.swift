import Abstractions

extension BlockDevice {
    /// The volumes of a disk: its file system when that fills the whole disk, else the primary partitions of its MBR.
    ///
    /// - Throws: `unsupported` for a GPT, `corrupt` for a partition outside the disk.
    public func volumes() throws -> [Volume] {
        if let system = try FileSystemMark.find(on: self, at: 0, size: size) {
            return [
                Volume(
                    id: .whole, offset: ByteCount(0), size: ByteCount(size), fileSystem: system.name,
                    label: system.label)
            ]
        }
        guard size >= 512 else { return [] }
        let sector = try bytes(at: 0, count: 512)
        guard sector[510] == 0x55, sector[511] == 0xaa else { return [] }
        // MBR: four entries of 16 bytes from 446 on; 4 type, 8 first sector, 12 sectors (all 512 bytes).
        var volumes: [Volume] = []
        for number in 1...4 {
            let entry = Array(sector[(446 + 16 * (number - 1))..<(446 + 16 * number)])
            let (type, start, count) = (entry[4], Int64(entry.u32(8)) * 512, Int64(entry.u32(12)) * 512)
            guard type != 0, count > 0, entry[0] & 0x7f == 0 else { continue }
            if type == 0xee {
                throw BackendError(
                    .unsupported, "disk.volumes", "the disk has a GPT, which this version cannot read; MBR is known")
            }
            if [0x05, 0x0f, 0x85].contains(type) { continue }
            guard start < size, count <= size - start else {
                throw BackendError(
                    .corrupt, "disk.volumes", "partition \(number) reaches past the end of the disk", blame: .disk)
            }
            let system = try FileSystemMark.find(on: self, at: start, size: count)
            volumes.append(
                Volume(
                    id: .partition(number), offset: ByteCount(start), size: ByteCount(count), fileSystem: system?.name,
                    label: system?.label))
        }
        return volumes
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
