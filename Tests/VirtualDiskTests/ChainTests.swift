import Abstractions
import Host
import Testing

@testable import VirtualDisk

/// Layers over layers: what reads from where, and what a write leaves alone.
@Suite struct ChainTests {
    private static let size = 1 << 20

    /// Changes a random part of a layer and of what it should hold; half of it straight, as an upload does it.
    private func change(_ image: DiskImage, _ model: inout [UInt8], _ random: inout SplitMix) throws {
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        for _ in 0..<12 {
            let offset = Int.random(in: 0..<model.count, using: &random)
            let count = min(Int.random(in: 1...150_000, using: &random), model.count - offset)
            let bytes = pattern(count, seed: UInt8.random(in: 1...255, using: &random))
            model.replaceSubrange(offset..<offset + count, with: bytes)
            if Bool.random(using: &random) {
                try transaction.write(at: Int64(offset), bytes: bytes)
            } else {
                try bytes.withUnsafeBytes { try transaction.writeFresh(at: Int64(offset), from: $0) }
            }
            let start = Int.random(in: 0..<model.count, using: &random)
            let length = min(60_000, model.count - start)
            #expect(
                try transaction.bytes(at: Int64(start), count: length) == Array(model[start..<start + length]),
                "a read inside the transaction is wrong")
        }
        try transaction.commit()
    }

    /// Says that some blocks are zero, whatever the layers below hold.
    private func clearBlocks(_ image: DiskImage, _ model: inout [UInt8], _ random: inout SplitMix) throws {
        var bytes = try HostFiles.read(image.path)
        for block in 0..<16 where bytes.u32(512 + 4 * block) == VDILayout.askParent {
            guard Bool.random(using: &random) else { continue }
            bytes.replaceSubrange(512 + 4 * block..<516 + 4 * block, with: littleEndian(VDILayout.zero))
            model.replaceSubrange(block << 16..<(block + 1) << 16, with: [UInt8](repeating: 0, count: 1 << 16))
        }
        try HostFiles.write(bytes, to: image.path)
    }

    @Test func `four layers with shuffled blocks read as their sum, and each stays as it was`() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix(state: seed)
        let scratch = try Scratch(inMemory: true)
        var model = [UInt8](repeating: 0, count: ChainTests.size)
        var layers: [(image: DiskImage, model: [UInt8], bytes: [UInt8])] = []
        for number in 0..<4 {
            let image = try scratch.smallVDI(Int64(ChainTests.size), "layer\(number).vdi", over: layers.last?.image)
            if number > 0 { try clearBlocks(image, &model, &random) }
            for _ in 0..<3 { try change(image, &model, &random) }
            layers.append((image, model, try HostFiles.read(image.path)))
        }
        for layer in layers {
            let disk = try VirtualDisk.open(layer.image, .readOnly)
            let isRight = try disk.content.bytes(at: 0, count: model.count) == layer.model
            #expect(isRight, "\(layer.image.path.name) with seed \(seed)")
            try disk.export(to: scratch.path(layer.image.path.name + ".raw"))
            #expect(try HostFiles.read(scratch.path(layer.image.path.name + ".raw")) == layer.model, "seed \(seed)")
            #expect(try HostFiles.read(layer.image.path) == layer.bytes, "a layer changed, seed \(seed)")
        }
    }

    @Test(arguments: TestImage.allCases)
    func `any mix of writes and reads is what a plain file would hold`(_ kind: TestImage) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix(state: seed)
        let scratch = try Scratch(inMemory: true)
        let image = try kind.make(scratch, Int64(ChainTests.size))
        var model = kind.content(ChainTests.size)
        for _ in 0..<8 {
            try change(image, &model, &random)
            let isRight = try VirtualDisk.open(image, .readOnly).content.bytes(at: 0, count: model.count) == model
            #expect(isRight, "seed \(seed)")
        }
    }

    /// Takes single sectors out of a VHD's blocks: they are the parent's then, or zero.
    private func clearSectors(_ image: DiskImage, _ kind: TestImage, _ model: inout [UInt8], _ random: inout SplitMix)
        throws
    {
        let layout = try #require(try VirtualDisk.open(image, .readOnly).layout as? VHDLayout)
        var bytes = try HostFiles.read(image.path)
        for (block, entry) in layout.table.enumerated() where entry != VHDLayout.unused {
            for sector in 0..<128 where Int.random(in: 0..<3, using: &random) == 0 {
                bytes[Int(entry) * 512 + sector / 8] &= ~(0x80 >> UInt8(sector % 8))
                let range = block << 16 + sector * 512..<block << 16 + sector * 512 + 512
                model.replaceSubrange(range, with: kind.content(model.count)[range])
            }
        }
        try HostFiles.write(bytes, to: image.path)
    }

    @Test(arguments: [TestImage.vhd, .vhdLayer])
    func `sectors whose bit is not set are the parent's, or zero, until they are written`(_ kind: TestImage) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix(state: seed)
        let scratch = try Scratch(inMemory: true)
        let size = 256 << 10
        let image = try kind.make(scratch, Int64(size))
        var model = kind.content(size)
        for _ in 0..<6 {
            try change(image, &model, &random)
            try clearSectors(image, kind, &model, &random)
            let isRight = try VirtualDisk.open(image, .readOnly).content.bytes(at: 0, count: model.count) == model
            #expect(isRight, "seed \(seed)")
        }
    }

    @Test func `the parent's content and zero are never taken for each other`() throws {
        let scratch = try Scratch(inMemory: true)
        let base = try scratch.smallVDI(192 << 10, "base.vdi")
        do {
            let transaction = try VirtualDisk.open(base, .readWrite).begin()
            try transaction.write(at: 0, bytes: pattern(192 << 10, seed: 3))
            try transaction.commit()
        }
        let layer = try scratch.smallVDI(192 << 10, over: base)
        var bytes = try HostFiles.read(layer.path)
        bytes.replaceSubrange(516..<520, with: littleEndian(VDILayout.zero))
        try HostFiles.write(bytes, to: layer.path)
        func check(_ written: Bool) throws {
            let content = try VirtualDisk.open(layer, .readOnly).content
            var expected = pattern(192 << 10, seed: 3)
            expected.replaceSubrange(64 << 10..<128 << 10, with: [UInt8](repeating: 0, count: 64 << 10))
            if written { for block in 0..<3 { expected[block << 16 + 5_000] = 0xee } }
            #expect(try content.bytes(at: 0, count: 192 << 10) == expected)
        }
        try check(false)
        do {
            let transaction = try VirtualDisk.open(layer, .readWrite).begin()
            for block in 0..<3 { try transaction.write(at: Int64(block << 16 + 5_000), bytes: [0xee]) }
            try transaction.commit()
        }
        try check(true)
    }

    @Test func `what a whole write replaces is not copied, and holes stay holes`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try TestImage.vdiLayer.make(scratch, Int64(ChainTests.size))
        let counting = CountingHost()
        do {
            let disk = try VirtualDisk(image, .readWrite, CountingFile(PosixFile(image.path, 2), counting))
            let transaction = try disk.begin()
            // Three blocks in pieces that do not end where blocks do, as an upload writes them.
            let bytes = pattern(192 << 10, seed: 4)
            for start in stride(from: 0, to: bytes.count, by: 40_000) {
                let piece = Array(bytes[start..<min(bytes.count, start + 40_000)])
                try piece.withUnsafeBytes { try transaction.writeFresh(at: Int64(start), from: $0) }
            }
            #expect(counting.bytes == 192 << 10)
            // A block of which the parent has nothing.
            try transaction.write(at: Int64(ChainTests.size / 2 + 70_000), bytes: [1])
            try transaction.commit()
        }
        #expect(counting.bytes < 192 << 10 + 8 << 10)
    }

    @Test func `a layer may be larger than its parent`() throws {
        let scratch = try Scratch(inMemory: true)
        let base = try scratch.smallVDI(128 << 10, "base.vdi")
        do {
            let transaction = try VirtualDisk.open(base, .readWrite).begin()
            try transaction.write(at: 0, bytes: pattern(128 << 10, seed: 1))
            try transaction.commit()
        }
        let layer = DiskImage(path: scratch.path("layer.vdi"), format: .vdi)
        try VirtualDisk.create(layer, over: base, size: ByteCount(2 << 20))
        do {
            let transaction = try VirtualDisk.open(layer, .readWrite).begin()
            try transaction.write(at: 100 << 10, bytes: [9])
            try transaction.commit()
        }
        var expected = pattern(128 << 10, seed: 1) + [UInt8](repeating: 0, count: 2 << 20 - 128 << 10)
        expected[100 << 10] = 9
        #expect(try VirtualDisk.open(layer, .readOnly).content.bytes(at: 0, count: 2 << 20) == expected)
    }

    @Test func `an aborted change of a layer leaves its file as it was`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try TestImage.vdiLayer.make(scratch, Int64(ChainTests.size))
        let before = try HostFiles.read(image.path)
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        try pattern(70_000, seed: 5).withUnsafeBytes { try transaction.writeFresh(at: 1_000, from: $0) }
        _ = try transaction.bytes(at: 0, count: 200_000)
        transaction.abort()
        #expect(try HostFiles.read(image.path) == before)
    }
}
