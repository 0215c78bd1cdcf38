import Abstractions

/// The pages that a transaction has staged: first in memory, past a limit in the log in the making.
///
/// Pages are 4 KiB and get slots in the order in which they are first written, so neighbours written together lie together.
struct PageStore {
    static let pageSize = 4096
    /// What stays in memory: metadata of an upload does, a staged view's content does not.
    static let memoryLimit = 32 << 20

    private(set) var slots: [Int64: Int] = [:]
    private var pages: [Int64] = []
    private var memory: [UInt8] = []
    private(set) var draft: (any ImageFile)?
    private let makeDraft: @Sendable () throws -> any ImageFile

    init(makeDraft: @escaping @Sendable () throws -> any ImageFile) { self.makeDraft = makeDraft }

    var isEmpty: Bool { slots.isEmpty }
    /// The staged pages in the order in which they lie on the disk.
    var pagesInDiskOrder: [(page: Int64, slot: Int)] {
        pages.enumerated().map { (page: $0.element, slot: $0.offset) }.sorted { $0.page < $1.page }
    }
    /// Where a slot lies in the log.
    static func logOffset(_ slot: Int) -> Int64 { RedoLog.dataStart + Int64(slot) * Int64(pageSize) }
    /// The first byte behind the slots.
    var logEnd: Int64 { PageStore.logOffset(pages.count) }

    /// The slot of a page, a new one when it has none; says whether it is new.
    mutating func slot(for page: Int64) throws -> (slot: Int, isNew: Bool) {
        if let slot = slots[page] { return (slot, false) }
        if draft == nil {
            if memory.count + PageStore.pageSize > PageStore.memoryLimit {
                _ = try spill()
            } else {
                memory.append(contentsOf: repeatElement(0, count: PageStore.pageSize))
            }
        }
        let slot = pages.count
        slots[page] = slot
        pages.append(page)
        return (slot, true)
    }

    /// Moves what is in memory to the log; also done before the commit.
    mutating func spill() throws -> any ImageFile {
        if let draft { return draft }
        let file = try makeDraft()
        draft = file
        try file.write(at: RedoLog.dataStart, bytes: memory)
        memory = []
        return file
    }

    /// Writes from a place in a slot on; may run over into the slots behind it.
    mutating func write(_ slot: Int, _ inside: Int, _ bytes: UnsafeRawBufferPointer) throws {
        if let draft {
            try draft.write(at: PageStore.logOffset(slot) + Int64(inside), from: bytes)
        } else {
            let start = slot * PageStore.pageSize + inside
            memory.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[start..<start + bytes.count]).copyMemory(from: bytes)
            }
        }
    }

    /// Reads from a place in a slot on; may run over into the slots behind it.
    func read(_ slot: Int, _ inside: Int, _ buffer: UnsafeMutableRawBufferPointer) throws {
        if let draft {
            try draft.read(at: PageStore.logOffset(slot) + Int64(inside), into: buffer)
        } else {
            let start = slot * PageStore.pageSize + inside
            memory.withUnsafeBytes {
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + buffer.count]))
            }
        }
    }
}
