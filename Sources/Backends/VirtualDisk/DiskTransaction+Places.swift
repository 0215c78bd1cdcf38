import Abstractions

/// Blocks that the top layer gets only now: what is not written over keeps the content that the layers below give it.
///
/// Writes mostly follow each other, so the part of a new block behind what was written is left open as `gap`, shrinks with
/// every write, and is filled only when something else needs it: what is written whole is never copied. A fill goes straight to the
/// file like fresh data: the committed state does not know the place yet.
extension DiskTransaction {
    /// Gives bytes their place in the file: where the first lies, and how many lie there in one piece.
    func givePlace(_ state: inout State, _ offset: Int64, _ count: Int64) throws -> (place: Int64, count: Int64) {
        let allocation = try state.layout.allocate(offset, count)
        if let filling = allocation.filling {
            try fillGap(&state)
            state.gap = filling
        }
        if var gap = state.gap, gap.range.overlaps(offset..<offset + allocation.count) {
            let end = offset + allocation.count
            if gap.range.lowerBound < offset { try fill(&state, gap, gap.range.lowerBound..<offset) }
            gap.range = end..<max(end, gap.range.upperBound)
            state.gap = gap.range.isEmpty ? nil : gap
        }
        return (allocation.place, allocation.count)
    }

    /// Gives the open part of the newest block its content.
    func fillGap(_ state: inout State) throws {
        guard let gap = state.gap else { return }
        try fill(&state, gap, gap.range)
        state.gap = nil
    }

    private func fill(_ state: inout State, _ gap: Filling, _ range: Range<Int64>) throws {
        if gap.isHole && disk.parents.isEmpty { return }
        let most: Int64 = 1 << 20
        try withUnsafeTemporaryAllocation(byteCount: Int(min(most, Int64(range.count))), alignment: 16) { buffer in
            var offset = range.lowerBound
            while offset < range.upperBound {
                let (source, count) = try disk.inherited(offset)
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<Int(min(count, Int64(buffer.count), range.upperBound - offset))])
                if try !gap.isHole || !isHole(source, part.count) {
                    if let source {
                        try source.file.read(at: source.place, into: part)
                    } else {
                        part.initializeMemory(as: UInt8.self, repeating: 0)
                    }
                    state.hasFresh = true
                    try disk.file.write(at: offset + gap.shift, from: UnsafeRawBufferPointer(part))
                }
                offset += Int64(part.count)
            }
        }
    }

    private func isHole(_ source: VirtualDisk.Source?, _ count: Int) throws -> Bool {
        guard let source else { return true }
        return try source.file.hole(at: source.place, count: Int64(count)) == Int64(count)
    }
}
