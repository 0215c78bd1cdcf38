import Abstractions

/// A delta of a VMDK over its parent, which QEMU is not told of: it knows no parents that are linked by UUID, as VirtualBox does.
///
/// A grain is in the delta or not; the first write into one brings all of it, so that it never hides what the parent has.
final class LayeredFile: ImageFile {
    private let top: ForeignFile
    private let parent: any ImageFile
    private let grain: Int64
    private let size: Int64

    init(_ top: ForeignFile, over parent: any ImageFile, grain: Int64) throws {
        self.top = top
        self.parent = parent
        self.grain = grain
        size = try top.length()
    }

    var path: HostPath { top.path }
    func length() -> Int64 { size }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            let place = offset + Int64(done)
            guard place < size else {
                let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
                rest.initializeMemory(as: UInt8.self, repeating: 0)
                return
            }
            let run = try top.status(at: place, count: min(size - place, Int64(buffer.count - done)))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + Int(run.length)])
            if run.isOwn { try top.read(at: place, into: part) } else { try parent.read(at: place, into: part) }
            done += part.count
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        let end = offset + Int64(buffer.count)
        let (first, last) = (offset / grain * grain, min(size, (end + grain - 1) / grain * grain))
        let isWhole = first == offset && last == end
        if try isWhole || hasOwn(first, min(first + grain, size)) && hasOwn(max(first, last - grain), last) {
            return try top.write(at: offset, from: buffer)
        }
        try withUnsafeTemporaryAllocation(byteCount: Int(last - first), alignment: 4096) { grains in
            let start = Int(offset - first)
            if start > 0 { try read(at: first, into: UnsafeMutableRawBufferPointer(rebasing: grains[..<start])) }
            if end < last {
                try read(at: end, into: UnsafeMutableRawBufferPointer(rebasing: grains[(start + buffer.count)...]))
            }
            UnsafeMutableRawBufferPointer(rebasing: grains[start..<start + buffer.count]).copyMemory(from: buffer)
            try top.write(at: first, from: UnsafeRawBufferPointer(grains))
        }
    }

    func hole(at offset: Int64, count: Int64) throws -> Int64 {
        let run = try top.status(at: offset, count: count)
        guard !run.isOwn else { return run.isZero ? run.length : 0 }
        let below = try parent.length() - offset
        return below <= 0 ? run.length : try parent.hole(at: offset, count: min(run.length, below))
    }

    func reserve(at offset: Int64, count: Int64) throws {
        try withUnsafeTemporaryAllocation(byteCount: Int(min(grain, count)), alignment: 4096) { buffer in
            var done: Int64 = 0
            while done < count {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(grain, count - done))])
                try read(at: offset + done, into: part)
                try write(at: offset + done, from: UnsafeRawBufferPointer(part))
                done += Int64(part.count)
            }
        }
    }

    func finishReserving() throws { try top.finishReserving() }
    func settle() { top.settle() }
    func truncate(to length: Int64) throws { try top.truncate(to: length) }
    func sync() throws { try top.sync() }

    private func hasOwn(_ start: Int64, _ end: Int64) throws -> Bool {
        guard end > start else { return true }
        let run = try top.status(at: start, count: end - start)
        return run.isOwn && run.length == end - start
    }
}
