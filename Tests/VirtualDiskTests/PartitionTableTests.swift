import Abstractions
import Host
import Testing

@testable import VirtualDisk

/// GPTs and chains of logical partitions as sfdisk makes them, and as nobody should.
@Suite struct PartitionTableTests {
    /// Two primary partitions and three logical ones on 16 MiB.
    static let logical = """
        label: dos
        1: start=2048, size=4096, type=83
        2: start=8192, size=22528, type=5
        5: start=10240, size=2048, type=83
        6: start=14336, size=4096, type=82
        7: start=20480, size=1024, type=83
        """
    /// Entries 1, 2 and 9 on 16 MiB.
    static let gpt = """
        label: gpt
        1: start=2048, size=4096, name="boot \u{e4}"
        2: start=8192, size=8192, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
        9: start=20480, size=2048, name="ninth"
        """

    private let scratch: Scratch

    init() throws { scratch = try Scratch(inMemory: true) }

    private func partitioned(_ table: String) async throws -> DiskImage {
        let image = try scratch.raw(16 << 20)
        try HostFiles.write(Array(table.utf8), to: scratch.path("table"))
        _ = try await Tool.check(
            "sh", ["-c", "sfdisk -q \(image.path) <\(scratch.path("table"))"])
        return image
    }

    private func volumes(_ image: DiskImage) throws -> [Volume] {
        try VirtualDisk.open(image, .readOnly).volumes()
    }

    /// Opens with these bytes in place of what is there, and says what goes wrong.
    private func corruption(
        _ image: DiskImage, _ changes: [(offset: Int64, bytes: [UInt8])],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> String {
        try change(image, changes)
        let error = #expect(throws: BackendError.self, sourceLocation: sourceLocation) { try volumes(image) }
        #expect(error?.code == .corrupt, sourceLocation: sourceLocation)
        return error?.message ?? ""
    }

    private func change(_ image: DiskImage, _ changes: [(offset: Int64, bytes: [UInt8])]) throws {
        var bytes = try HostFiles.read(image.path)
        for change in changes {
            bytes.replaceSubrange(Int(change.offset)..<Int(change.offset) + change.bytes.count, with: change.bytes)
        }
        try HostFiles.write(bytes, to: image.path)
    }

    /// The places as sfdisk lists them, by number.
    private func oracle(_ image: DiskImage) async throws -> [String] {
        let dump = try await Tool.check("sfdisk", ["--dump", image.path.string]).text
        return dump.split(separator: "\n").compactMap { line in
            guard let name = line.split(separator: " ").first, line.contains("start="), !line.contains("type=5") else {
                return nil
            }
            func value(_ key: String) -> Int64 {
                let rest = line.split(separator: "\(key)=", maxSplits: 1).last ?? ""
                return Int64(rest.drop { $0 == " " }.prefix { $0.isNumber }) ?? -1
            }
            let number = name.dropFirst(image.path.string.count)
            return "p\(number) \(value("start") * 512) \(value("size") * 512)"
        }
    }

    private func summary(_ volumes: [Volume]) -> [String] {
        volumes.map { "\($0.id) \($0.offset.bytes) \($0.size.bytes)" }
    }

    @Test(arguments: [logical, gpt])
    func `every partition has the number and place that sfdisk tells`(_ table: String) async throws {
        let image = try await partitioned(table)
        let expected = try await oracle(image)
        #expect(expected.count == (table == Self.gpt ? 3 : 4))
        #expect(summary(try volumes(image)) == expected)
    }

    @Test func `a partition of a GPT has its name and file system`() async throws {
        let image = try await partitioned(Self.gpt)
        let system = scratch.path("system")
        _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", "-L", "inner", system.string, "2M"])
        try change(image, [(1 << 20, HostFiles.read(system))])
        let found = try volumes(image)
        #expect(found.map(\.name) == ["boot \u{e4}", nil, "ninth"])
        #expect(found.map(\.fileSystem) == ["ext4", nil, nil])
        #expect(found.first?.label == "inner")
        #expect(found.allSatisfy { $0.warning == nil })
    }

    @Test(arguments: [512, 512 + 24, 512 + 90, 1024 + 40])
    func `a broken first GPT is read from the second one, said, and not written`(_ place: Int64) async throws {
        let image = try await partitioned(Self.gpt)
        let whole = try volumes(image)
        try change(image, [(place, [0xa5, 0x5a])])
        let found = try volumes(image)
        #expect(summary(found) == summary(whole))
        #expect(found.allSatisfy { $0.warning?.contains("second one") == true })
        let disk = try VirtualDisk.open(image, .readWrite)
        let error = #expect(throws: BackendError.self) { try disk.volumes() }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("can only be read") == true)
    }

    @Test func `a disk whose two GPTs are broken is corrupt`() async throws {
        let image = try await partitioned(Self.gpt)
        let message = try corruption(image, [(600, [0xff, 0xff, 0xff, 0xff]), ((16 << 20) - 512, [0])])
        #expect(message.contains("byte 512 has a wrong checksum"), "\(message)")
        #expect(try corruption(image, [(512, [0])]).contains("no GPT header"))
    }

    /// Changes an entry, or the header itself, and makes both checksums right again.
    private func forge(_ image: DiskImage, header: [(Int, UInt64)] = [], entry: [(Int, UInt64)] = []) throws {
        var bytes = try HostFiles.read(image.path)
        for (offset, value) in entry { bytes.replaceSubrange(1024 + offset..<1032 + offset, with: littleEndian(value)) }
        let entries = CRC32.of(bytes[1024..<1024 + 128 * 128])
        bytes.replaceSubrange(512 + 88..<512 + 92, with: littleEndian(entries))
        for (offset, value) in header { bytes.replaceSubrange(512 + offset..<520 + offset, with: littleEndian(value)) }
        bytes.replaceSubrange(512 + 16..<512 + 20, with: [0, 0, 0, 0])
        bytes.replaceSubrange(512 + 16..<512 + 20, with: littleEndian(CRC32.of(bytes[512..<512 + 92])))
        try HostFiles.write(bytes, to: image.path)
    }

    @Test func `what a GPT with right checksums must not say is corrupt, with the place`() async throws {
        let image = try await partitioned(Self.gpt)
        let whole = try HostFiles.read(image.path)
        let cases: [(header: [(Int, UInt64)], entry: [(Int, UInt64)], message: String)] = [
            ([], [(32, 1)], "GPT partition 1 has sectors 1 to"),
            ([], [(40, .max)], "GPT partition 1 has sectors 2048 to"),
            ([], [(40, 100)], "GPT partition 1 has sectors 2048 to 100"),
            ([(48, .max)], [(40, 1 << 40)], "partition 1 is not inside the disk"),
            ([(48, .max)], [(40, .max / 512 - 2)], "GPT partition 1 has sectors 2048 to"),
            ([], [(40, 9000)], "partitions 1 and 2 overlap at byte 4194304"),
            ([(72, .max)], [], "entries behind the end"),
            ([(72, 32760)], [], "entries behind the end"),
            ([(80, 128 << 32 | 0xffff_ffff)], [], "has 4294967295 entries"),
            ([(80, 8 << 32 | 128)], [], "has 128 entries of 8 bytes"),
            ([(80, 0xffff_ff80 << 32 | 1)], [], "has 1 entries of"),
        ]
        for (header, entry, message) in cases {
            try HostFiles.write(whole, to: image.path)
            try forge(image, header: header, entry: entry)
            let said = try corruption(image, [])
            #expect(said.contains(message), "\(said) instead of \(message)")
        }
    }

    @Test func `a chain of logical partitions that goes wrong is corrupt, with the place`() async throws {
        let image = try await partitioned(Self.logical)
        let whole = try HostFiles.read(image.path)
        // The first boot record lies at sector 8192; its second entry names the next one.
        let first: Int64 = 8192 * 512
        let link = first + 462
        let cases: [(place: Int64, value: UInt32, message: String)] = [
            (link + 8, 0, "come back to byte 4194304"),
            (link + 8, 30000, "is not inside extended partition 2"),
            (link + 8, 100, "there is no boot record at byte 4245504"),
            (first + 446 + 8, 22000, "logical partition 5 is not inside"),
            (first + 446 + 12, .max, "logical partition 5 is not inside"),
            (first + 446 + 12, 8192, "partitions 5 and 6 overlap"),
            (462 + 12, 1 << 20, "extended partition 2 is not inside the disk"),
        ]
        for (place, value, message) in cases {
            try HostFiles.write(whole, to: image.path)
            let said = try corruption(image, [(place, littleEndian(value))])
            #expect(said.contains(message), "\(said) instead of \(message)")
        }
    }

    @Test(arguments: [logical, gpt])
    func `a table with random bytes in it reads or is corrupt`(_ table: String) async throws {
        let image = try await partitioned(table)
        let disk = MutableDevice(try HostFiles.read(image.path))
        let places: [Range<Int>] =
            table == Self.gpt
            ? [440..<512, 512..<604, 1024..<1280]
            : [440..<512, (4 << 20) + 440..<(4 << 20) + 512, 6_815_744..<6_816_256]
        var random = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            disk.bytes = disk.original
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                guard let place = places.randomElement(using: &random)?.randomElement(using: &random) else { continue }
                disk.bytes[place] = [0, 1, 5, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255)].randomElement() ?? 0
            }
            if table == Self.gpt, Bool.random() {
                let entries = CRC32.of(disk.bytes[1024..<1024 + 128 * 128])
                disk.bytes.replaceSubrange(600..<604, with: littleEndian(entries))
                disk.bytes.replaceSubrange(528..<532, with: [0, 0, 0, 0])
                disk.bytes.replaceSubrange(528..<532, with: littleEndian(CRC32.of(disk.bytes[512..<604])))
            }
            do {
                for volume in try disk.volumes() { _ = try PartitionWindow(disk, volume) }
            } catch let error as BackendError {
                #expect(error.code == .corrupt)
            }
        }
    }
}

/// A disk in memory that counts no reads outside itself: `checkRange` throws another code than `corrupt`.
private final class MutableDevice: BlockDevice, @unchecked Sendable {
    // One test's own.
    let original: [UInt8]
    var bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        original = bytes
        self.bytes = bytes
    }

    var size: Int64 { Int64(bytes.count) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        throw BackendError(.invalidState, "test", "nobody writes here")
    }

    func flush() throws {}
}
