import Abstractions
import CExt2fs

/// One folder, whole in memory: reading it once and writing it once is what keeps big folders from costing the square of their size.
final class ExtDirectory {
    struct Entry {
        var name: [UInt8]
        var inode: UInt32
        /// The kind's number (`EXT2_FT_…`), 0 where the file system does not keep it.
        var type: UInt8
    }

    let number: UInt32
    /// The folder that `..` names.
    var parent: UInt32 {
        didSet { isDirty = true }
    }
    private(set) var entries: [Entry]
    private var positions: [[UInt8]: Int] = [:]
    /// Whether the disk does not have it like this.
    var isDirty: Bool
    /// Folders added less folders removed since it was read: what its link count is off by.
    var linkChange = 0

    init(number: UInt32, parent: UInt32, entries: [Entry], isNew: Bool) {
        self.number = number
        self.parent = parent
        self.entries = entries
        isDirty = isNew
        positions.reserveCapacity(entries.count)
        for (position, entry) in entries.enumerated() where positions[entry.name] == nil {
            positions[entry.name] = position
        }
    }

    /// The entry with this name.
    subscript(name: [UInt8]) -> Entry? { positions[name].map { entries[$0] } }

    /// Adds a name that is not there yet.
    func insert(_ entry: Entry) {
        positions[entry.name] = entries.count
        entries.append(entry)
        if entry.type == ExtInode.entryType(.directory) { linkChange += 1 }
        isDirty = true
    }

    /// Takes a name out; the caller knows what it named, since some file systems do not say it here.
    func remove(_ name: [UInt8], isFolder: Bool) {
        guard let position = positions.removeValue(forKey: name) else { return }
        if isFolder { linkChange -= 1 }
        let last = entries.removeLast()
        if position < entries.count {
            entries[position] = last
            positions[last.name] = position
        }
        isDirty = true
    }

    /// Makes a name stand for another inode, which is no folder, as the old one is none.
    func replace(_ name: [UInt8], inode: UInt32, type: UInt8) {
        guard let position = positions[name] else { return }
        entries[position].inode = inode
        entries[position].type = type
        isDirty = true
    }
}
