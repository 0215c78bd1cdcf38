import Abstractions
import Host
import Testing

@testable import VirtualDisk

/// Metadata that anybody may have written.
@Suite struct DamageTests {
    /// Some numbers are more likely than others to pass one check and break the next.
    private static let numbers: [UInt32] = [
        0, 1, 2, 3, 4, 511, 512, 4096, 1 << 16, 0x7fff_ffff, 0x8000_0000, .max - 1, .max,
    ]

    @Test(arguments: [TestImage.vdiLayer, .vhd, .vhdLayer, .fixedVHD])
    func `random damage is read as something or refused, and never changes or crashes anything`(_ kind: TestImage)
        throws
    {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix(state: seed)
        let scratch = try Scratch(inMemory: true)
        let image = try kind.make(scratch, 256 << 10)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 70_000, bytes: pattern(1_000, seed: 1))
            try transaction.commit()
        }
        let sound = try HostFiles.read(image.path)
        var refused = 0
        for _ in 0..<300 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let head = Int.random(in: 0..<min(2_200, bytes.count - 4), using: &random) & ~3
                let tail = bytes.count - 512 + Int.random(in: 0..<127, using: &random) * 4
                let number = Self.numbers.randomElement(using: &random) ?? 0
                let isBig = image.format == .vhd
                bytes.put(isBig ? bigEndian(number) : littleEndian(number), kind == .fixedVHD ? tail : head)
            }
            if image.format == .vhd { fixChecksums(&bytes) }
            if Int.random(in: 0..<10, using: &random) == 0 {
                bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random))
            }
            try HostFiles.write(bytes, to: image.path)
            do {
                let disk = try VirtualDisk.open(image, .readOnly)
                var offset: Int64 = 0
                while offset < min(disk.content.size, 1 << 20) {
                    let count = Int(min(1 << 16, disk.content.size - offset))
                    _ = try disk.content.bytes(at: offset, count: count)
                    offset += Int64(count)
                }
            } catch let error as BackendError {
                #expect([.corrupt, .notFound, .unsupported].contains(error.code), "\(error), seed \(seed)")
                refused += 1
            }
            let isSame = try HostFiles.read(image.path) == bytes
            #expect(isSame, "an image was changed by reading it, seed \(seed)")
        }
        #expect(refused > 20)
    }

    private func fixChecksums(_ bytes: inout [UInt8]) {
        for (start, count, place) in [(0, 512, 64), (512, 1024, 36), (bytes.count - 512, 512, 64)] {
            guard start + count <= bytes.count else { continue }
            bytes.put(bigEndian(VHDFooter.checksum(Array(bytes[start..<start + count]), at: place)), start + place)
        }
    }
}
