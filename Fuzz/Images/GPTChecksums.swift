@testable import VirtualDisk

/// Makes the checksums of a mutated GPT right, so that the fuzzer gets past them.
enum GPTChecksums {
    static func repair(_ image: PatchedImage) {
        let file: any ImageFile = image
        for place in [512, image.size - 512] where place >= 512 {
            guard let header = try? file.bytes(at: place, count: 512) else { continue }
            let length = Int(header.u32(12))
            let (count, each) = (Int(header.u32(80)), Int(header.u32(84)))
            guard (92...512).contains(length), count <= 256, each <= 512 else { continue }
            let entries = Int64(bitPattern: header.u64(72))
            guard entries >= 0, entries < image.size / 512 else { continue }
            guard let table = try? file.bytes(at: entries * 512, count: count * each) else { continue }
            image.patch(place + 88, littleEndian(CRC32.of(table)))
            guard let fixed = try? file.bytes(at: place, count: length) else { continue }
            image.patch(place + 16, littleEndian(CRC32.of(fixed[0..<16] + [0, 0, 0, 0] + fixed[20...])))
        }
    }
}
