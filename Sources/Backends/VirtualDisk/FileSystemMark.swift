import Abstractions

/// A file system told by its magic numbers, with the names that `blkid` uses.
struct FileSystemMark {
    var name: String
    var label: String?

    static func find(on device: any BlockDevice, at start: Int64, size: Int64) throws -> FileSystemMark? {
        guard size >= 4096 else { return nil }
        let head = try device.bytes(at: start, count: 4096)
        if head.u16(1024 + 0x38) == 0xef53 { return ext(Array(head[1024..<2048])) }
        if text(head, 3, 8) == "NTFS" { return FileSystemMark(name: "ntfs", label: nil) }
        if text(head, 0, 4) == "hsqs" { return FileSystemMark(name: "squashfs", label: nil) }
        if text(head, 0, 4) == "XFSB" { return FileSystemMark(name: "xfs", label: text(head, 0x6c, 12)) }
        if head[510] == 0x55, head[511] == 0xaa {
            if text(head, 0x52, 5) == "FAT32" { return FileSystemMark(name: "vfat", label: fatLabel(head, 0x47)) }
            if text(head, 0x36, 3) == "FAT" { return FileSystemMark(name: "vfat", label: fatLabel(head, 0x2b)) }
        }
        if text(head, 4086, 10) == "SWAPSPACE2" { return FileSystemMark(name: "swap", label: text(head, 0x41c, 16)) }
        // A physical volume's label lies in one of the first four sectors (LVM2, lib/label/label.c).
        for sector in 0..<4
        where text(head, sector * 512, 8) == "LABELONE" && text(head, sector * 512 + 24, 8) == "LVM2 001" {
            return FileSystemMark(name: "LVM2_member", label: nil)
        }
        return try late(device, start, size)
    }

    /// Those whose numbers lie past the first page.
    private static func late(_ device: any BlockDevice, _ start: Int64, _ size: Int64) throws -> FileSystemMark? {
        if size >= 0x8800 {
            // The primary volume descriptor, ECMA-119 8.4.
            let descriptor = try device.bytes(at: start + 0x8000, count: 2048)
            if text(descriptor, 1, 5) == "CD001" {
                return FileSystemMark(name: "iso9660", label: text(descriptor, 40, 32))
            }
        }
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
