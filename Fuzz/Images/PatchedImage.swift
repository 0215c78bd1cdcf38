import Abstractions
import FuzzDriver

@testable import VirtualDisk

/// A sparse image in memory that the fuzzer's bytes describe, and that notices when it is read or written where it must not be.
///
/// ```
/// u8 kind | u8 fixes | u32 length in sectors | patches: u32 sector, u16 offset in it, u16 count, bytes
/// ```
/// All numbers are little-endian. A patch that is cut short ends the image.
final class PatchedImage: ImageFile, BlockDevice, @unchecked Sendable {
    // One thread runs one input; nothing is shared.
    let path: HostPath = "/fuzz/image"
    let kind: UInt8
    let fixes: UInt8
    let size: Int64
    private var patches: [(offset: Int64, bytes: [UInt8])] = []
    /// Bytes read so far: work that an image of a few patches may ask for is bounded.
    private(set) var bytesRead = 0

    init?(_ input: UnsafeRawBufferPointer) {
        guard input.count >= 6 else { return nil }
        kind = input[0]
        fixes = input[1]
        size = Int64(input.loadUnaligned(fromByteOffset: 2, as: UInt32.self)) * 512
        var at = 6
        while at + 8 <= input.count {
            let sector = Int64(input.loadUnaligned(fromByteOffset: at, as: UInt32.self))
            let inside = Int64(input.loadUnaligned(fromByteOffset: at + 4, as: UInt16.self))
            let count = min(Int(input.loadUnaligned(fromByteOffset: at + 6, as: UInt16.self)), input.count - at - 8)
            patches.append((sector * 512 + inside, Array(input[at + 8..<at + 8 + count])))
            at += 8 + count
        }
    }

    func length() throws -> Int64 { size }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        demand(offset >= 0, "a read before the image's start, at \(offset)")
        demand(offset <= Int64.max - Int64(buffer.count), "a read that wraps around, at \(offset)")
        bytesRead += buffer.count
        demand(bytesRead < 1 << 30, "more than 1 GiB was read to open an image")
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        for patch in patches {
            let from = max(offset, patch.offset)
            let to = min(offset + Int64(buffer.count), patch.offset + Int64(patch.bytes.count), size)
            guard from < to else { continue }
            for at in from..<to { buffer[Int(at - offset)] = patch.bytes[Int(at - patch.offset)] }
        }
    }

    /// Writes over what the fuzzer says: only the harness does, to make checksums right.
    func patch(_ offset: Int64, _ bytes: [UInt8]) { patches.append((offset, bytes)) }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws { fatalError("a write on open") }
    func reserve(at offset: Int64, count: Int64) throws { fatalError("a reservation on open") }
    func truncate(to length: Int64) throws { fatalError("a change of length on open") }
    func flush() throws {}
    func sync() throws {}
}
