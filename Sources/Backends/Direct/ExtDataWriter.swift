import Abstractions
import VirtualDisk

/// Collects file content that goes to blocks side by side, whichever file they belong to, and writes it in big pieces.
///
/// Blocks that the image on the host does not use are written at once and past staging: until the commit nothing there points to
/// them. A block that was freed after the last commit is still part of the old state and is staged.
final class ExtDataWriter {
    private static let capacity = 4 << 20

    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 4096)
    private var start: Int64 = 0
    private var filled = 0

    deinit { buffer.deallocate() }

    /// Lets `fill` write content for blocks from a byte position on; it gets at most `wanted` bytes of room and must fill them all.
    ///
    /// - Returns: how many bytes there were.
    func append(
        at position: Int64, wanted: Int, _ filesystem: ExtFilesystem,
        fill: (UnsafeMutableRawBufferPointer) throws -> Void
    ) throws -> Int {
        if filled == buffer.count || start + Int64(filled) != position { try flush(filesystem) }
        if filled == 0 { start = position }
        let count = min(wanted, buffer.count - filled)
        try fill(UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + count]))
        filled += count
        return count
    }

    /// Writes what is left; called before anything is read back and at the end of each operation.
    func flush(_ filesystem: ExtFilesystem) throws {
        guard filled > 0 else { return }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<filled])
        filled = 0
        let size = filesystem.blockSize
        let first = UInt64(start) / UInt64(size)
        let count = UInt64((bytes.count + size - 1) / size)
        filesystem.channel.forget(first, count)
        guard let writeFresh = filesystem.writeFresh else { return }
        if filesystem.isFresh(first, count) { return try writeFresh(start, bytes) }
        for index in 0..<count {
            let offset = Int(index) * size
            let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<min(offset + size, bytes.count)])
            if filesystem.isFresh(first + index, 1) {
                try writeFresh(start + Int64(offset), part)
            } else {
                try filesystem.device.write(at: start + Int64(offset), from: part)
            }
        }
    }

    /// Forgets what was not written, after an error.
    func drop() { filled = 0 }
}
