import Abstractions

/// A file system in memory, as a value: a copy is a snapshot and shares what neither side changes.
struct MemoryTree: Sendable {
    static let root = 1
    var nodes: [Int: MemoryNode] = [root: MemoryNode(.directory, mode: 0o755)]
    var next = 2
    /// Most bytes that all contents may store.
    var capacity: Int64

    init(capacity: Int64) { self.capacity = capacity }

    // MARK: - Looking

    subscript(number: Int) -> MemoryNode { nodes[number] ?? MemoryNode(.directory, mode: 0) }

    /// The node at a path; links above the last component are followed inside this tree.
    ///
    /// - Throws: `notFound`.
    func find(_ path: GuestPath, _ operation: String) throws -> Int {
        var hops = 0
        let parent = try folder(path, operation, &hops)
        guard let name = path.components.last else { return MemoryTree.root }
        guard let found = self[parent].entries[GuestPath.bytes(of: name)] else { throw missing(path, operation) }
        return found
    }

    /// The folder above a path, which must be there.
    ///
    /// - Throws: `notFound`.
    func parent(of path: GuestPath, _ operation: String) throws -> Int {
        var hops = 0
        return try folder(path, operation, &hops)
    }

    private func folder(_ path: GuestPath, _ operation: String, _ hops: inout Int) throws -> Int {
        var current = MemoryTree.root
        let names = path.components.dropLast()
        for (index, name) in names.enumerated() {
            guard let found = self[current].entries[GuestPath.bytes(of: name)] else { throw missing(path, operation) }
            let node = self[found]
            if node.stat.kind == .symlink {
                let target = node.stat.target ?? ""
                let above = "/" + names.prefix(index).joined(separator: "/")
                let start = target.utf8.first == UInt8(ascii: "/") ? target : above + "/" + target
                hops += 1
                guard hops <= 40 else { throw missing(path, operation) }
                let rest = path.components.dropFirst(index + 1)
                return try folder(GuestPath(rest.reduce(start) { $0 + "/" + $1 }), operation, &hops)
            }
            guard node.stat.kind == .directory else { throw missing(path, operation) }
            current = found
        }
        return current
    }

    func missing(_ path: GuestPath, _ operation: String) -> BackendError {
        BackendError(.notFound, operation, "nothing is at \(path) in the image", blame: .caller)
    }

    // MARK: - Changing

    /// Adds a node under a name that is free.
    mutating func add(_ node: MemoryNode, _ name: [UInt8], in folder: Int) -> Int {
        let number = next
        next += 1
        nodes[number] = node
        if node.stat.kind == .directory { nodes[number]?.links = 2 }
        enter(number, name, in: folder)
        return number
    }

    /// Gives a node one more name.
    mutating func link(_ number: Int, _ name: [UInt8], in folder: Int) {
        nodes[number]?.links += 1
        enter(number, name, in: folder)
    }

    private mutating func enter(_ number: Int, _ name: [UInt8], in folder: Int) {
        nodes[folder]?.entries[name] = number
        if self[number].stat.kind == .directory { nodes[folder]?.links += 1 }
    }

    /// Takes a name away, and the node with all below it when that was its last.
    mutating func unlink(_ name: [UInt8], in folder: Int) {
        guard let number = nodes[folder]?.entries.removeValue(forKey: name) else { return }
        if self[number].stat.kind == .directory { nodes[folder]?.links -= 1 }
        var pending = [number]
        while let next = pending.popLast() {
            let node = self[next]
            if node.stat.kind == .directory || node.links <= 1 {
                pending.append(contentsOf: node.entries.values)
                nodes.removeValue(forKey: next)
            } else {
                nodes[next]?.links -= 1
            }
        }
    }

    /// Takes a name out of one folder and puts it into another.
    mutating func move(_ name: [UInt8], in folder: Int, to newName: [UInt8], in newFolder: Int) {
        guard let number = nodes[folder]?.entries.removeValue(forKey: name) else { return }
        if self[number].stat.kind == .directory { nodes[folder]?.links -= 1 }
        enter(number, newName, in: newFolder)
    }

    /// Whether `inner` is `outer` or lies below it.
    func contains(_ outer: Int, _ inner: Int) -> Bool {
        var pending = [outer]
        while let next = pending.popLast() {
            if next == inner { return true }
            pending.append(contentsOf: self[next].entries.values.filter { self[$0].stat.kind == .directory })
        }
        return false
    }

    /// Refuses what does not fit.
    ///
    /// - Throws: `noSpace`.
    func checkCapacity(_ operation: String) throws {
        let stored = nodes.values.reduce(Int64(0)) { $0 + $1.content.stored + 256 }
        guard stored <= capacity else {
            throw BackendError(
                .noSpace, operation, "the image holds \(ByteCount(capacity)), which is too little; make a larger one",
                blame: .disk)
        }
    }
}
