import Abstractions
import Host
import Testing

@testable import VirtualDisk

/// File systems by the tools that make them, and partition tables by hand.
@Suite struct VolumeTests {
    /// The maker's program and arguments, and what `blkid` calls its work; the label is LABELLED where there is one.
    struct Maker: Sendable, CustomTestStringConvertible {
        var program: String
        var arguments: [String]
        var fileSystem: String
        var hasLabel = true
        var mebibytes: Int64 = 8

        var testDescription: String { ([program] + arguments).joined(separator: " ") }
    }

    static let makers = [
        Maker(program: "mke2fs", arguments: ["-q", "-F", "-t", "ext2", "-L", "LABELLED"], fileSystem: "ext2"),
        Maker(program: "mke2fs", arguments: ["-q", "-F", "-t", "ext3", "-L", "LABELLED"], fileSystem: "ext3"),
        Maker(program: "mke2fs", arguments: ["-q", "-F", "-t", "ext4", "-L", "LABELLED"], fileSystem: "ext4"),
        Maker(program: "mkswap", arguments: ["-L", "LABELLED"], fileSystem: "swap"),
        Maker(program: "mkfs.vfat", arguments: ["-F", "16", "-n", "LABELLED"], fileSystem: "vfat", mebibytes: 16),
        Maker(program: "mkfs.vfat", arguments: ["-F", "32", "-n", "LABELLED"], fileSystem: "vfat", mebibytes: 48),
        Maker(program: "mkfs.ntfs", arguments: ["-q", "-F"], fileSystem: "ntfs", hasLabel: false),
        Maker(program: "mkfs.btrfs", arguments: ["-q", "-L", "LABELLED"], fileSystem: "btrfs", mebibytes: 128),
        Maker(program: "mkfs.xfs", arguments: ["-q", "-L", "LABELLED"], fileSystem: "xfs", mebibytes: 320),
    ]

    @Test(arguments: makers)
    func `a file system on a whole disk is told with its label`(_ maker: Maker) async throws {
        guard HostEnvironment.program(maker.program) != nil else {
            return print("SKIPPED: \(maker.program) is not installed")
        }
        let scratch = try Scratch()
        let image = try scratch.raw(maker.mebibytes << 20)
        _ = try await Tool.check(maker.program, maker.arguments + [image.path.string])
        let volumes = try VirtualDisk.open(image, .readOnly).content.volumes()
        #expect(volumes.map(\.id) == [.whole])
        #expect(volumes.first?.fileSystem == maker.fileSystem)
        #expect(volumes.first?.label == (maker.hasLabel ? "LABELLED" : nil))
        #expect(volumes.first?.size == ByteCount(maker.mebibytes << 20))
    }

    /// Where an image has the magic numbers of what no installed tool makes, and what they mean.
    struct Signs: Sendable, CustomTestStringConvertible {
        var fileSystem: String
        var label: String?
        var texts: [(offset: Int64, text: String)]

        var testDescription: String { fileSystem }
    }

    static let signs = [
        Signs(fileSystem: "btrfs", label: "LABELLED", texts: [(0x10040, "_BHRfS_M"), (0x1012b, "LABELLED")]),
        Signs(fileSystem: "iso9660", label: "LABELLED", texts: [(0x8001, "CD001"), (0x8028, "LABELLED    ")]),
        Signs(fileSystem: "squashfs", texts: [(0, "hsqs")]),
        Signs(fileSystem: "LVM2_member", texts: [(512, "LABELONE"), (536, "LVM2 001")]),
    ]

    @Test(arguments: signs)
    func `a file system is told by its magic numbers`(_ signs: Signs) throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            for sign in signs.texts { try transaction.write(at: sign.offset, bytes: Array(sign.text.utf8)) }
            try transaction.commit()
        }
        let volume = try volumes(image).first
        #expect(volume?.fileSystem == signs.fileSystem)
        #expect(volume?.label == signs.label)
    }

    /// A first sector with these partitions.
    private func table(_ entries: [(type: UInt8, start: UInt32, sectors: UInt32)]) -> [UInt8] {
        var sector = [UInt8](repeating: 0, count: 512)
        for (index, entry) in entries.enumerated() {
            let at = 446 + 16 * index
            sector[at + 4] = entry.type
            sector.replaceSubrange(at + 8..<at + 16, with: littleEndian(entry.start) + littleEndian(entry.sectors))
        }
        sector[510] = 0x55
        sector[511] = 0xaa
        return sector
    }

    private func disk(_ scratch: Scratch, _ table: [UInt8]) throws -> DiskImage {
        let image = try scratch.raw()
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        try transaction.write(at: 0, bytes: table)
        try transaction.commit()
        return image
    }

    private func volumes(_ image: DiskImage) throws -> [Volume] {
        try VirtualDisk.open(image, .readOnly).content.volumes()
    }

    @Test func `primary partitions keep their numbers, extended ones are left out`() throws {
        let scratch = try Scratch()
        let image = try disk(scratch, table([(0x83, 2048, 4096), (0x05, 6144, 2048), (0, 0, 0), (0x82, 8192, 1024)]))
        let found = try volumes(image)
        #expect(found.map(\.id) == [.partition(1), .partition(4)])
        #expect(found.map(\.offset) == [ByteCount(1 << 20), ByteCount(4 << 20)])
        #expect(found.map(\.size) == [ByteCount(2 << 20), ByteCount(512 << 10)])
    }

    @Test func `a partition past the end of the disk is corrupt`() throws {
        let scratch = try Scratch()
        let error = #expect(throws: BackendError.self) {
            try volumes(try disk(scratch, table([(0x83, 2048, 1 << 20)])))
        }
        #expect(error?.code == .corrupt)
    }

    @Test func `a partition table wins over the old file system that it was written on`() async throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        _ = try await Tool.check("mke2fs", ["-q", "-F", image.path.string])
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 0, bytes: table([(0x83, 2048, 4096)]))
            try transaction.commit()
        }
        #expect(try volumes(image).map(\.id) == [.partition(1)])
    }

    @Test func `an empty disk has no volumes`() throws {
        let scratch = try Scratch()
        #expect(try volumes(scratch.raw()).isEmpty)
    }

    @Test func `a window shows its part and nothing else`() throws {
        let scratch = try Scratch()
        let transaction = try VirtualDisk.open(try scratch.raw(), .readWrite).begin()
        let window = try PartitionWindow(transaction, start: 1 << 20, size: 1 << 20)
        try window.write(at: 0, bytes: [1, 2, 3])
        #expect(try transaction.bytes(at: 1 << 20, count: 3) == [1, 2, 3])
        #expect(throws: BackendError.self) { try window.write(at: 1 << 20, bytes: [1]) }
        #expect(throws: BackendError.self) { try window.bytes(at: (1 << 20) - 1, count: 2) }
        #expect(throws: BackendError.self) { try PartitionWindow(transaction, start: 8 << 20, size: 1) }
    }
}
