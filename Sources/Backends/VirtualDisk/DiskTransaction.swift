import Abstractions
import Synchronization

/// Changes to a disk that become durable together, or never happened.
///
/// ```
///   begin -- write, writeFresh … -- commit   all of it is durable
///                               `-- abort    nothing happened; also when the last reference goes
///                               `-- fails    a call that could not be done whole: `commit` throws its error, nothing happened
/// ```
/// Reads see the transaction's own writes. `write` stages; `writeFresh` goes straight to the image, which is sound only for
/// bytes that mean nothing in the committed state: data blocks that the old metadata calls free. After `commit` or `abort`
/// every call throws `invalidState`; `VirtualDisk.begin` makes the next one. Calls may come from any thread.
public final class DiskTransaction: BlockDevice {
    /// See `BlockDevice`.
    public let size: Int64
    let disk: VirtualDisk
    private let state: Mutex<State>

    struct State {
        var layout: any ImageLayout
        var pages: PageStore
        /// What was given a place last and does not hold its content there yet.
        var gap: Filling?
        var hasFresh = false
        var isOver = false
        var failure: BackendError?
    }

    init(_ disk: VirtualDisk, _ layout: any ImageLayout) {
        self.disk = disk
        size = layout.size
        state = Mutex(State(layout: layout, pages: PageStore { try disk.makeDraft() }))
    }

    deinit { abort() }

    /// See `BlockDevice`.
    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try state.withLock { state in
            try checkOpen(state)
            try read(&state, offset, buffer)
        }
    }

    /// Stages the bytes.
    public func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try state.withLock { state in
            try changing(&state) { try stage(&$0, offset, buffer) }
        }
    }

    /// Writes straight to the image bytes that the committed state does not use.
    ///
    /// A place in the file that the image did not have yet becomes part of it only with the commit. Bytes that are staged
    /// already are staged again.
    public func writeFresh(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try state.withLock { state in
            try changing(&state) { state in
                if touchesStaged(state, offset, buffer.count) { return try stage(&state, offset, buffer) }
                state.hasFresh = true
                var done = 0
                while done < buffer.count {
                    let (place, count) = try givePlace(&state, offset + Int64(done), Int64(buffer.count - done))
                    let part = Int(count)
                    try disk.file.write(at: place, from: UnsafeRawBufferPointer(rebasing: buffer[done..<done + part]))
                    done += part
                }
            }
        }
    }

    /// Does nothing: durability comes with `commit`.
    public func flush() throws {}

    /// Makes all changes durable.
    ///
    /// - Throws: `noSpace`, what the host says, the error of an earlier call: the image is then as before. An error with retry
    ///   `reopen` comes after the point of no return: the changes stand in the redo log, and the next open finishes them.
    public func commit() throws {
        try state.withLock { state in
            try checkOpen(state)
            state.isOver = true
            defer { state.pages = PageStore { throw DiskTransaction.over } }
            do {
                if let failure = state.failure { throw failure }
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
            state.pages = PageStore { throw DiskTransaction.over }
        }
    }

    // MARK: -

    private static let over = BackendError(.invalidState, "disk.write", "the transaction is over")

    private func checkOpen(_ state: State) throws {
        if state.isOver { throw DiskTransaction.over }
    }

    /// What was done in part must never be committed, so the first error stays.
    private func changing(_ state: inout State, _ body: (inout State) throws -> Void) throws {
        try checkOpen(state)
        if let failure = state.failure { throw failure }
        do {
            try disk.announce()
            try body(&state)
        } catch {
            state.failure = BackendError.wrapping(error, "disk.write")
            throw error
        }
    }

    private func stage(_ state: inout State, _ offset: Int64, _ buffer: UnsafeRawBufferPointer) throws {
        var run: (slot: Int, inside: Int, range: Range<Int>)?
        func flush(_ pages: inout PageStore) throws {
            guard let done = run else { return }
            try pages.write(done.slot, done.inside, UnsafeRawBufferPointer(rebasing: buffer[done.range]))
        }
        try forEachPage(offset, buffer.count) { page, inside, range in
            let (slot, isNew) = try state.pages.slot(for: page)
            if isNew && range.count < PageStore.pageSize { try fill(&state, page, slot) }
            if let open = run, slot == open.slot + (open.inside + open.range.count) / PageStore.pageSize, inside == 0 {
                run?.range = open.range.lowerBound..<range.upperBound
            } else {
                try flush(&state.pages)
                run = (slot, inside, range)
            }
        }
        try flush(&state.pages)
    }

    private func touchesStaged(_ state: State, _ offset: Int64, _ count: Int) -> Bool {
        if state.pages.isEmpty || count == 0 { return false }
        let pageSize = Int64(PageStore.pageSize)
        return (offset / pageSize...(offset + Int64(count) - 1) / pageSize).contains { state.pages.slots[$0] != nil }
    }

    /// A page that is written in part starts as what it was.
    private func fill(_ state: inout State, _ page: Int64, _ slot: Int) throws {
        let start = page * Int64(PageStore.pageSize)
        let count = Int(min(Int64(PageStore.pageSize), size - start))
        try withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) { old in
            try readBase(&state, start, old)
            try state.pages.write(slot, 0, UnsafeRawBufferPointer(old))
        }
    }

    private func readBase(_ state: inout State, _ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        if state.gap?.range.overlaps(offset..<offset + Int64(buffer.count)) == true { try fillGap(&state) }
        try disk.readBase(state.layout, offset, buffer)
    }

    func read(_ state: inout State, _ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        guard !state.pages.isEmpty else { return try readBase(&state, offset, buffer) }
        // A run is bytes that lie together: in neighbouring slots, or (slot nil) in the image.
        var run: (slot: Int?, inside: Int, range: Range<Int>)?
        func flush() throws {
            guard let done = run else { return }
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done.range])
            if let slot = done.slot {
                try state.pages.read(slot, done.inside, part)
            } else {
                try readBase(&state, offset + Int64(done.range.lowerBound), part)
            }
        }
        try forEachPage(offset, buffer.count) { page, inside, range in
            let slot = state.pages.slots[page]
            if let open = run,
                slot == open.slot.map({ $0 + (open.inside + open.range.count) / PageStore.pageSize })
            {
                run?.range = open.range.lowerBound..<range.upperBound
            } else {
                try flush()
                run = (slot, inside, range)
            }
        }
        try flush()
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
            .invalidArgument, "disk.range", "\(count) bytes from \(offset) on are not inside a disk of \(size) bytes")
    }
}
