import Abstractions
import CExt2fs
import VirtualDisk

/// The block device as libext2fs sees it: metadata goes through a write-back cache, file content past it.
///
/// The library writes the same inode and bitmap blocks again and again; the cache hands each changed block to the device once, in
/// order. A block that is written with what it holds already stays clean. Used on one thread.
final class ExtChannel {
    private struct Block {
        var bytes: UnsafeMutableRawPointer
        var isDirty: Bool
    }

    private static let capacity = 64 << 20

    private let device: any BlockDevice
    private let limit: Int64
    private var blockSize = 1024
    private var cache: [UInt64: Block] = [:]
    /// The device's own error behind an I/O error that the library reports.
    private(set) var failure: (any Error)?

    /// The library's table of functions for this channel.
    let manager = ExtManager.make()

    init(_ device: any BlockDevice) {
        self.device = device
        limit = device.size
    }

    deinit {
        dropAll()
        manager.deallocate()
    }

    /// Runs one of the library's calls for blocks; its error is kept, the library gets only a number.
    func perform(_ body: (ExtChannel) throws -> Void) -> Int {
        do {
            try body(self)
            return 0
        } catch {
            failure = error
            return 5  // EIO
        }
    }

    /// Takes the kept error out.
    func takeFailure() -> (any Error)? {
        defer { failure = nil }
        return failure
    }

    func setBlockSize(_ size: Int) throws {
        guard size != blockSize else { return }
        try flush()
        dropAll()
        blockSize = size
    }

    /// Reads blocks, or bytes from a block's start when `count` is negative.
    func read(_ block: UInt64, _ count: Int, _ data: UnsafeMutableRawPointer) throws {
        try pieces(block, count) { number, done, length in
            data.advanced(by: done).copyMemory(from: try load(number).bytes, byteCount: length)
        }
    }

    /// Writes blocks, or bytes from a block's start when `count` is negative.
    func write(_ block: UInt64, _ count: Int, _ data: UnsafeRawPointer) throws {
        try pieces(block, count) { number, done, length in
            try change(number, at: 0, UnsafeRawBufferPointer(start: data.advanced(by: done), count: length))
        }
    }

    /// Writes bytes at a byte offset.
    func write(byte offset: UInt64, _ data: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < data.count {
            let position = offset + UInt64(done)
            let inside = Int(position % UInt64(blockSize))
            let length = min(blockSize - inside, data.count - done)
            try change(
                position / UInt64(blockSize), at: inside, UnsafeRawBufferPointer(rebasing: data[done..<done + length]))
            done += length
        }
    }

    /// Forgets blocks whose content now goes past the cache.
    func forget(_ block: UInt64, _ count: UInt64) {
        guard !cache.isEmpty else { return }
        if count > UInt64(cache.count) {
            for number in cache.keys where number >= block && number - block < count { drop(number) }
        } else {
            for number in block..<block + count { drop(number) }
        }
    }

    /// Hands every changed block to the device.
    func flush() throws {
        let dirty = cache.filter { $0.value.isDirty }.keys.sorted()
        guard !dirty.isEmpty else { return }
        let most = max(1, (1 << 20) / blockSize)
        let run = UnsafeMutableRawPointer.allocate(byteCount: most * blockSize, alignment: 4096)
        defer { run.deallocate() }
        var index = 0
        while index < dirty.count {
            let first = dirty[index]
            var count = 0
            while count < most, index + count < dirty.count, dirty[index + count] == first + UInt64(count) {
                guard let block = cache[dirty[index + count]] else { break }
                run.advanced(by: count * blockSize).copyMemory(from: block.bytes, byteCount: blockSize)
                count += 1
            }
            try device.write(
                at: try position(first), from: UnsafeRawBufferPointer(start: run, count: count * blockSize))
            for step in 0..<count { cache[dirty[index + step]]?.isDirty = false }
            index += count
        }
    }

    // MARK: - Blocks

    private func pieces(_ block: UInt64, _ count: Int, _ body: (UInt64, Int, Int) throws -> Void) throws {
        let length = count < 0 ? -count : count * blockSize
        var done = 0
        var number = block
        while done < length {
            try body(number, done, min(blockSize, length - done))
            done += blockSize
            number += 1
        }
    }

    private func position(_ block: UInt64) throws -> Int64 {
        // A damaged file system may point anywhere.
        guard block <= UInt64(limit) / UInt64(blockSize) else {
            throw ExtError.corrupt("disk.read", "block \(block) lies outside the volume")
        }
        return Int64(block) * Int64(blockSize)
    }

    private func load(_ number: UInt64) throws -> Block {
        if let block = cache[number] { return block }
        try makeRoom()
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: blockSize, alignment: 4096)
        do {
            let start = try position(number)
            // The last block of a volume may be cut by its end.
            let there = Int(min(Int64(blockSize), limit - start))
            if there < blockSize { bytes.initializeMemory(as: UInt8.self, repeating: 0, count: blockSize) }
            try device.read(at: start, into: UnsafeMutableRawBufferPointer(start: bytes, count: there))
        } catch {
            bytes.deallocate()
            throw error
        }
        let block = Block(bytes: bytes, isDirty: false)
        cache[number] = block
        return block
    }

    private func change(_ number: UInt64, at offset: Int, _ data: UnsafeRawBufferPointer) throws {
        let block = try load(number)
        guard let source = data.baseAddress else { return }
        let place = block.bytes.advanced(by: offset)
        if UnsafeRawBufferPointer(start: place, count: data.count).elementsEqual(data) { return }
        place.copyMemory(from: source, byteCount: data.count)
        cache[number]?.isDirty = true
    }

    private func makeRoom() throws {
        guard cache.count * blockSize >= ExtChannel.capacity else { return }
        try flush()
        dropAll()
    }

    private func drop(_ number: UInt64) {
        cache.removeValue(forKey: number)?.bytes.deallocate()
    }

    private func dropAll() {
        cache.values.forEach { $0.bytes.deallocate() }
        cache.removeAll()
    }
}
