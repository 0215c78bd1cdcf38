import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Changes to a disk that become durable together, or never happened.
///
/// Reads see the transaction's own writes. `write` stages; `writeFresh` goes straight to the image, which is sound only for
/// bytes that mean nothing in the committed state: data blocks that the old metadata calls free. After `commit` or `abort`
/// every call throws `invalidState`; `VirtualDisk.begin` makes the next one. Calls may come from any thread.
public final class DiskTransaction: BlockDevice {
    /// See `BlockDevice`.
    public let size: Int64
    private let disk: VirtualDisk
    private let state: Mutex<State>

    private struct State {
        var layout: any ImageLayout
        var pages: PageStore
        var hasFresh = false
        var isJournaled = false
        var isOver = false
    }

    init(_ disk: VirtualDisk, _ layout: any ImageLayout) {
        self.disk = disk
        size = layout.size
        state = Mutex(State(layout: layout, pages: PageStore { try disk.makeDraft() }))
    }

    /// See `BlockDevice`.
    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try state.withLock { state in
            try checkOpen(state)
            try read(state, offset, buffer)
        }
    }

    /// Stages the bytes.
    public func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try state.withLock { state in
            try checkOpen(state)
            try journal(&state)
            try forEachPage(offset, buffer.count) { page, inside, range in
                let (slot, isNew) = try state.pages.slot(for: page)
                if isNew && range.count < PageStore.pageSize { try fill(&state, page, slot) }
                try state.pages.write(slot, inside, UnsafeRawBufferPointer(rebasing: buffer[range]))
            }
        }
    }

    /// Writes straight to the image bytes that the committed state does not use.
    ///
    /// A place in the file that the image did not have yet becomes part of it only with the commit. Bytes that are staged
    /// already are staged again.
    public func writeFresh(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        let isStaged = try state.withLock { state in
            try checkOpen(state)
            try journal(&state)
            if touchesStaged(state, offset, buffer.count) { return true }
            state.hasFresh = true
            var done = 0
            while done < buffer.count {
                let (place, count) = try state.layout.allocate(offset + Int64(done))
                let part = min(Int(count), buffer.count - done)
                try disk.file.write(at: place, from: UnsafeRawBufferPointer(rebasing: buffer[done..<done + part]))
                done += part
            }
            return false
        }
        if isStaged { try write(at: offset, from: buffer) }
    }

    /// Does nothing: durability comes with `commit`.
    public func flush() throws {}

    /// Makes all changes durable.
    ///
    /// - Throws: `noSpace`, `permissionDenied` for an unwritable folder, or what the host says; the image is then as before.
    public func commit() throws {
        try state.withLock { state in
            try checkOpen(state)
            state.isOver = true
            do {
                try commit(&state)
            } catch {
                discard(&state)
                throw error
            }
        }
    }

    /// Forgets all changes; idempotent.
    public func abort() {
        state.withLock { state in
            guard !state.isOver else { return }
            state.isOver = true
            discard(&state)
        }
    }

    // MARK: -

    private func commit(_ state: inout State) throws {
        guard !state.pages.isEmpty || state.hasFresh else { return disk.ended(self, nil) }
        let old = disk.layout
        let before = try disk.file.length()
        var extents = try placeStagedPages(&state)
        let metadata = metadataChanges(state.layout, old)
        guard !extents.isEmpty || !metadata.isEmpty else {
            try disk.file.sync()
            return disk.ended(self, state.layout)
        }
        try state.pages.spill()
        guard let draft = state.pages.draft else { return }
        var end = state.pages.logEnd
        for change in metadata {
            try draft.write(at: end, bytes: change.bytes)
            extents.append(
                .init(
                    offset: change.offset, length: Int64(change.bytes.count), logOffset: end,
                    checksum: RedoLog.checksum(change.bytes)))
            end += Int64(change.bytes.count)
        }
        // What the apply will write must find room: after the commit point there is no way back.
        for extent in extents { try disk.file.reserve(at: extent.offset, count: extent.length) }
        if state.hasFresh || state.layout.fileLength > before { try disk.file.sync() }
        let contents = RedoLog.Contents(
            lengthBefore: before, lengthAfter: max(before, state.layout.fileLength), extents: extents)
        try RedoLog.seal(draft, contents, indexOffset: end)
        let target = RedoLog.path(of: disk.file.path)
        guard rename(draft.path.string, target.string) == 0 else {
            throw hostError("disk.commit", "cannot name the redo log of \(disk.file.path)")
        }
        try HostFiles.syncDirectory(target.parent)
        disk.hook?(.committed)
        try RedoLog.apply(contents, from: draft, to: disk.file)
        disk.hook?(.applied)
        unlink(target.string)
        disk.ended(self, state.layout)
    }

    /// Gives every staged page its places in the file; extents are as long as neighbouring pages allow.
    private func placeStagedPages(_ state: inout State) throws -> [RedoLog.Extent] {
        var extents: [RedoLog.Extent] = []
        var buffer = [UInt8](repeating: 0, count: PageStore.pageSize)
        for (slot, page) in state.pages.pagesInSlotOrder.enumerated() {
            let start = page * Int64(PageStore.pageSize)
            let whole = Int(min(Int64(PageStore.pageSize), size - start))
            try buffer.withUnsafeMutableBytes {
                try state.pages.read(slot, 0, UnsafeMutableRawBufferPointer(rebasing: $0[..<whole]))
            }
            var done = 0
            while done < whole {
                let (place, count) = try state.layout.allocate(start + Int64(done))
                let part = min(Int(count), whole - done)
                let sum = buffer.withUnsafeBytes {
                    RedoLog.checksum(UnsafeRawBufferPointer(rebasing: $0[done..<done + part]))
                }
                extents.append(
                    .init(
                        offset: place, length: Int64(part), logOffset: PageStore.logOffset(slot) + Int64(done),
                        checksum: sum))
                done += part
            }
        }
        return extents
    }

    private func metadataChanges(_ new: any ImageLayout, _ old: any ImageLayout) -> [(offset: Int64, bytes: [UInt8])] {
        func changes<Layout: ImageLayout>(_ new: Layout) -> [(offset: Int64, bytes: [UInt8])] {
            (old as? Layout).map { new.metadataChanges(from: $0) } ?? []
        }
        return changes(new)
    }

    private func discard(_ state: inout State) {
        if let draft = state.pages.draft { unlink(draft.path.string) }
        // Blocks that were appended for fresh data are not part of the image.
        if state.layout.fileLength > disk.layout.fileLength, !HostFiles.exists(RedoLog.path(of: disk.file.path)) {
            try? disk.file.truncate(to: disk.layout.fileLength)
        }
        state.pages = PageStore { throw BackendError(.invalidState, "disk.write", "the transaction is over") }
        disk.ended(self, nil)
    }

    private func journal(_ state: inout State) throws {
        guard !state.isJournaled else { return }
        try RunScope.current?.journal.append(.redo(disk.image))
        state.isJournaled = true
    }

    private func checkOpen(_ state: State) throws {
        if state.isOver { throw BackendError(.invalidState, "disk.write", "the transaction is over") }
    }

    private func touchesStaged(_ state: State, _ offset: Int64, _ count: Int) -> Bool {
        if state.pages.isEmpty { return false }
        let first = offset / Int64(PageStore.pageSize)
        let last = (offset + Int64(count) - 1) / Int64(PageStore.pageSize)
        return (first...max(first, last)).contains { state.pages.slots[$0] != nil }
    }

    /// A page that is written in part starts as what it was.
    private func fill(_ state: inout State, _ page: Int64, _ slot: Int) throws {
        let start = page * Int64(PageStore.pageSize)
        let count = Int(min(Int64(PageStore.pageSize), size - start))
        var old = [UInt8](repeating: 0, count: count)
        try old.withUnsafeMutableBytes { try disk.readBase(state.layout, start, $0) }
        try old.withUnsafeBytes { try state.pages.write(slot, 0, $0) }
    }

    private func read(_ state: State, _ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        guard !state.pages.isEmpty else { return try disk.readBase(state.layout, offset, buffer) }
        var baseStart: Int?
        func readBase(upTo end: Int, _ layout: any ImageLayout) throws {
            guard let start = baseStart else { return }
            try disk.readBase(
                layout, offset + Int64(start), UnsafeMutableRawBufferPointer(rebasing: buffer[start..<end]))
            baseStart = nil
        }
        try forEachPage(offset, buffer.count) { page, inside, range in
            if let slot = state.pages.slots[page] {
                try readBase(upTo: range.lowerBound, state.layout)
                try state.pages.read(slot, inside, UnsafeMutableRawBufferPointer(rebasing: buffer[range]))
            } else if baseStart == nil {
                baseStart = range.lowerBound
            }
        }
        try readBase(upTo: buffer.count, state.layout)
    }

    private func forEachPage(
        _ offset: Int64, _ count: Int, _ body: (_ page: Int64, _ inside: Int, _ range: Range<Int>) throws -> Void
    ) throws {
        var done = 0
        while done < count {
            let at = offset + Int64(done)
            let inside = Int(at % Int64(PageStore.pageSize))
            let part = min(PageStore.pageSize - inside, count - done)
            try body(at / Int64(PageStore.pageSize), inside, done..<done + part)
            done += part
        }
    }
}

func checkRange(_ offset: Int64, _ count: Int, _ size: Int64) throws {
    guard offset >= 0, offset <= size, Int64(count) <= size - offset else {
        throw BackendError(
            .invalidArgument, "disk.range",
            "bytes \(offset) to \(offset + Int64(count)) are outside a disk of \(size) bytes")
    }
}
