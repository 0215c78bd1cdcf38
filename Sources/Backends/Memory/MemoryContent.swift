/// The bytes of a file in memory; what was never written is a hole that reads as zero.
struct MemoryContent: Sendable {
    static let chunkSize: Int64 = 4096

    /// The apparent size in bytes.
    var size: Int64 = 0
    /// Whole chunks by their number.
    private(set) var chunks: [Int64: [UInt8]] = [:]

    /// Bytes that take room.
    var stored: Int64 { Int64(chunks.count) * MemoryContent.chunkSize }

    /// The bytes from an offset on, fewer at the end.
    func read(offset: Int64, count: Int) -> [UInt8] {
        guard offset < size, count > 0 else { return [] }
        let end = min(size, offset + Int64(count))
        var bytes = [UInt8](repeating: 0, count: Int(end - offset))
        var position = offset
        while position < end {
            let number = position / MemoryContent.chunkSize
            let within = Int(position % MemoryContent.chunkSize)
            let length = min(Int(MemoryContent.chunkSize) - within, Int(end - position))
            if let chunk = chunks[number] {
                let start = Int(position - offset)
                bytes.replaceSubrange(start..<start + length, with: chunk[within..<within + length])
            }
            position += Int64(length)
        }
        return bytes
    }

    /// Writes bytes, growing the file where they end behind it.
    mutating func write(at offset: Int64, _ bytes: UnsafeRawBufferPointer) {
        size = max(size, offset + Int64(bytes.count))
        var position = offset
        var rest = bytes[...]
        while !rest.isEmpty {
            let number = position / MemoryContent.chunkSize
            let within = Int(position % MemoryContent.chunkSize)
            let length = min(Int(MemoryContent.chunkSize) - within, rest.count)
            let piece = rest.prefix(length)
            chunks[number, default: [UInt8](repeating: 0, count: Int(MemoryContent.chunkSize))]
                .replaceSubrange(within..<within + length, with: piece)
            position += Int64(length)
            rest = rest.dropFirst(length)
        }
    }

    /// Runs of neighbouring chunks in order, cut at the end of the file.
    var extents: [(offset: Int64, bytes: [UInt8])] {
        var runs: [(offset: Int64, bytes: [UInt8])] = []
        for number in chunks.keys.sorted() {
            guard let chunk = chunks[number] else { continue }
            let offset = number * MemoryContent.chunkSize
            let data = chunk.prefix(Int(max(0, min(MemoryContent.chunkSize, size - offset))))
            if let last = runs.last, last.offset + Int64(last.bytes.count) == offset, last.bytes.count < 1 << 20 {
                runs[runs.count - 1].bytes.append(contentsOf: data)
            } else {
                runs.append((offset, Array(data)))
            }
        }
        return runs
    }
}
