import Abstractions
import BackendSupport
import Host

/// Takes a host tree into a `MemoryTree`.
struct MemoryCopyIn: HostTreeVisitor {
    private(set) var tree: MemoryTree
    private let path: GuestPath
    private let options: CopyInOptions
    private let fault: MemoryFault?
    private let flag: CancellationFlag
    private let progress: ProgressSink
    private var folders: [Int] = []
    private var names: [String] = []
    private var links: [FileIdentity: Int] = [:]
    private var report = CopyReport()
    private let operation = "writable.copyIn"

    init(
        tree: MemoryTree, path: GuestPath, options: CopyInOptions, fault: MemoryFault?, flag: CancellationFlag,
        progress: ProgressSink
    ) {
        self.tree = tree
        self.path = path
        self.options = options
        self.fault = fault
        self.flag = flag
        self.progress = progress
    }

    /// Refuses a top that would replace something of another kind, before anything is copied.
    func checkTop(_ top: HostEntry) throws {
        if path == .root, top.stat.kind != .directory {
            throw BackendError(.invalidArgument, operation, "the root folder cannot be replaced by a file")
        }
        _ = try tree.parent(of: path, operation)
    }

    mutating func enter(_ folder: HostEntry) throws -> Bool {
        try flag.check()
        let (parent, name) = try place(folder)
        guard let name else {
            folders.append(MemoryTree.root)
            return true
        }
        if let there = tree[parent].entries[name] {
            guard tree[there].stat.kind == .directory else { throw clash(folder.name, "a file", "a folder") }
            folders.append(there)
        } else {
            folders.append(tree.add(node(folder), name, in: parent))
        }
        if folders.count > 1 { names.append(folder.name) }
        return true
    }

    mutating func leave(_ folder: HostEntry) throws {
        folders.removeLast()
        if !folders.isEmpty { _ = names.popLast() }
    }

    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws {
        try flag.check()
        let (parent, name) = try place(entry)
        guard let name else { throw clash("/", "a folder", "a file") }
        if entry.stat.kind == .fifo || entry.stat.kind == .socket {
            return report.refuse((names + [entry.name]).joined(separator: "/"), entry.stat.kind.rawValue)
        }
        if let there = tree[parent].entries[name] {
            guard tree[there].stat.kind != .directory else { throw clash(entry.name, "a folder", "a file") }
            tree.unlink(name, in: parent)
        }
        if entry.stat.links > 1, fault != .hardLinksSplit, let first = links[entry.identity], tree.nodes[first] != nil {
            tree.link(first, name, in: parent)
            if entry.stat.kind == .file { report.files += 1 }
            return
        }
        var node = node(entry)
        if entry.stat.kind == .file { try fill(&node, from: try open()) }
        links[entry.identity] = tree.add(node, name, in: parent)
        if entry.stat.kind == .file { report.files += 1 }
        report.bytes += node.content.size
        tell()
    }

    /// The report, after the last progress.
    func finish() -> CopyReport {
        tell()
        return report
    }

    private func tell() {
        progress.report(TransferProgress(bytes: report.bytes, files: report.files))
        if fault == .progressGoesBack { progress.report(TransferProgress(bytes: -1, files: -1)) }
    }

    /// The folder and name where an entry goes; the top goes to the path that was asked for, nil stands for the root itself.
    private func place(_ entry: HostEntry) throws -> (Int, [UInt8]?) {
        if let folder = folders.last { return (folder, GuestPath.bytes(of: entry.name)) }
        guard let name = path.components.last else { return (MemoryTree.root, nil) }
        return (try tree.parent(of: path, operation), GuestPath.bytes(of: name))
    }

    private func node(_ entry: HostEntry) -> MemoryNode {
        let stat = entry.stat
        return MemoryNode(
            stat.kind, mode: stat.mode, uid: fault == .copyInForgetsOwners ? 0 : options.uid ?? stat.uid,
            gid: options.gid ?? stat.gid, modified: fault == .copyInForgetsTimes ? now() : stat.modifiedNanoseconds,
            target: stat.target)
    }

    private func fill(_ node: inout MemoryNode, from file: HostFile) throws {
        var content = MemoryContent()
        for range in try file.dataRanges() {
            try file.read(range) { offset, bytes in
                try flag.check()
                content.write(at: offset, bytes)
                guard content.stored <= tree.capacity || fault == .fullDiskSilent else {
                    throw BackendError(
                        .noSpace, operation, "the image holds \(ByteCount(tree.capacity)), which is too little",
                        blame: .disk)
                }
            }
        }
        content.size = max(content.size, file.size)
        node.content = content
    }

    private func clash(_ name: String, _ old: String, _ new: String) -> BackendError {
        BackendError(
            .invalidArgument, operation, "\(name) is \(old) in the image and \(new) on the host; remove it first",
            blame: .caller)
    }
}
