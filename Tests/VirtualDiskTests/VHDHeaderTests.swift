import Abstractions
import Host
import Testing

@testable import VirtualDisk

@Suite struct VHDHeaderTests {
    /// A sound image with some blocks, changed; the checksums are right again unless the change is to hit one.
    private func damaged(
        _ kind: TestImage = .vhd, keepsChecksums: Bool = true, _ change: (inout [UInt8]) -> Void
    ) throws -> String {
        let scratch = try Scratch(inMemory: true)
        let image = try kind.make(scratch, 256 << 10)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 0, bytes: pattern(180_000, seed: 1))
            try transaction.commit()
        }
        var bytes = try HostFiles.read(image.path)
        change(&bytes)
        if keepsChecksums {
            for (start, count, place) in [(0, 512, 64), (512, 1024, 36), (bytes.count - 512, 512, 64)] {
                guard start >= 0, start + count <= bytes.count, bytes[start] == UInt8(ascii: "c") else { continue }
                let part = Array(bytes[start..<start + count])
                bytes.put(bigEndian(VHDFooter.checksum(part, at: place)), start + place)
            }
        }
        try HostFiles.write(bytes, to: image.path)
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .corrupt)
            #expect(try HostFiles.read(image.path) == bytes, "a refused image was changed")
            if mode == .readWrite { return error?.message ?? "" }
        }
        return ""
    }

    /// Where the block table lies in these images.
    private static let table = 1536

    @Test func `a wrong checksum of the footer or the header is corrupt`() throws {
        #expect(try damaged(keepsChecksums: false) { $0[100] ^= 1 }.contains("checksum"))
        #expect(try damaged(keepsChecksums: false) { $0[600] ^= 1 }.contains("header whose checksum"))
        #expect(try damaged(keepsChecksums: false) { $0[$0.count - 300] ^= 1 }.contains("footer at its end"))
        #expect(try damaged(.fixedVHD, keepsChecksums: false) { $0[$0.count - 300] ^= 1 }.contains("checksum"))
    }

    @Test func `a truncated file is corrupt`() throws {
        #expect(try damaged { $0.removeLast(512) }.contains("truncated"))
        #expect(try damaged { $0.removeLast(40_000) }.contains("past the file's end"))
        #expect(try damaged { $0.removeLast($0.count - 700) }.contains("outside the file"))
        #expect(try damaged(.fixedVHD) { $0.removeSubrange(0..<512) }.contains("says 262144 bytes"))
        #expect(try damaged(.fixedVHD) { $0.removeLast(512) }.contains("no footer"))
        #expect(try damaged { $0 = Array($0[..<100]) }.contains("too few"))
    }

    @Test func `a block table entry out of range, twice or over something else is corrupt`() throws {
        let table = Self.table
        #expect(try damaged { $0.put(bigEndian(0x00ff_ffff as UInt32), table + 4) }.contains("block 1"))
        #expect(try damaged { $0.put(Array($0[table..<table + 4]), table + 4) }.contains("lies over block"))
        #expect(try damaged { $0.put(bigEndian($0.big32(table) + 1), table + 4) }.contains("lies over block 0"))
        #expect(try damaged { $0.put(bigEndian(2 as UInt32), table) }.contains("lies over"))
        #expect(try damaged(.vhdLayer) { $0.put(bigEndian(4 as UInt32), table) }.contains("the parent's name W2ru"))
    }

    @Test func `a header that contradicts itself is corrupt`() throws {
        #expect(try damaged { $0.put(bigEndian(1 as UInt32), 512 + 28) }.contains("entries in the block table"))
        #expect(try damaged { $0.put(bigEndian(3_000 as UInt32), 512 + 32) }.contains("block size"))
        #expect(try damaged { $0.put(bigEndian(UInt64(1) << 62), 512 + 16) }.contains("block table at byte"))
        #expect(try damaged { $0.put(bigEndian(UInt64(1) << 62), 16) }.contains("the header at byte"))
        #expect(try damaged { $0[512] = 0 }.contains("no header"))
        #expect(try damaged { $0.put(bigEndian(UInt64(1) << 60), 48) }.contains("disk size"))
        #expect(try damaged { $0.put(bigEndian(9 as UInt32), 60) }.contains("type 9"))
        #expect(try damaged { $0.put(bigEndian(4 as UInt32), 60) }.contains("without a parent"))
        #expect(try damaged(.vhdLayer) { $0.put(bigEndian(3 as UInt32), 60) }.contains("not differencing"))
        #expect(try damaged { $0.put([9], $0.count - 512 + 70) }.contains("not that at its start"))
    }

    @Test func `a guest that writes a footer into the first sector of a fixed disk gets no other disk`() throws {
        let footer = VHDFooter(size: 64 << 10, .dynamic)
        #expect(try damaged(.fixedVHD) { $0.put(footer.bytes, 0) }.contains("contradict"))
    }

    @Test func `what a death in a transaction has appended is cut off by the next writer`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try TestImage.vhd.make(scratch, 256 << 10)
        let before = try HostFiles.read(image.path)
        try HostFiles.write(before + pattern(70_000, seed: 3), to: image.path)
        #expect(
            try VirtualDisk.open(image, .readOnly).content.bytes(at: 0, count: 10) == [UInt8](repeating: 0, count: 10))
        _ = try VirtualDisk.open(image, .readWrite)
        #expect(try HostFiles.read(image.path) == before)
    }
}
