import Abstractions
import BackendSupport
import CExt2fs
import Host

/// Puts a host's file or tree into an ext file system.
struct ExtCopyIn: HostTreeVisitor {
    private let filesystem: ExtFilesystem
    private let options: CopyInOptions
    private let progress: ProgressSink
    private let cancellation: CancellationFlag
    private let total: Int64
    private let topName: [UInt8]
    private var open: [(folder: ExtDirectory, isNew: Bool)]
    private var names: [String] = []
    private var links: [FileIdentity: UInt32] = [:]
    private var lastTold = ContinuousClock.now
    private(set) var report = CopyReport()

    init(
        _ filesystem: ExtFilesystem, into parent: ExtDirectory, as name: [UInt8], _ options: CopyInOptions,
        _ progress: ProgressSink, _ cancellation: CancellationFlag, total: Int64
    ) {
        self.filesystem = filesystem
        self.options = options
        self.progress = progress
        self.cancellation = cancellation
        self.total = total
        topName = name
        open = [(parent, false)]
    }

    private var operation: String { "disk.copyIn" }

    private func name(of entry: HostEntry) -> [UInt8] { open.count == 1 ? topName : GuestPath.bytes(of: entry.name) }

    private func owned(_ stat: FileStat) -> FileStat {
        var copy = stat
        copy.uid = options.uid ?? stat.uid
        copy.gid = options.gid ?? stat.gid
        return copy
    }

    // MARK: - Folders

    mutating func enter(_ entry: HostEntry) throws -> Bool {
        try cancellation.check()
        let parent = open[open.count - 1].folder
        let name = name(of: entry)
        // The root of the volume has no name in a parent.
        if name.isEmpty {
            open.append((parent, false))
        } else if let present = parent[name] {
            guard try filesystem.kind(of: present, operation) == .directory else {
                throw BackendError(
                    .invalidArgument, operation, "folder \(entry.name) would replace a file of the guest",
                    backend: "direct")
            }
            open.append((try filesystem.directory(present.inode, operation, entry.name), false))
        } else {
            open.append((try filesystem.makeFolder(name, in: parent, stat: owned(entry.stat), operation), true))
        }
        if open.count > 2 { names.append(entry.name) }
        return true
    }

    mutating func leave(_ entry: HostEntry) throws {
        let (folder, isNew) = open.removeLast()
        if open.count > 1 { _ = names.popLast() }
        try filesystem.flush(folder)
        // The root of the volume is the guest's: a folder of the host that is poured into it does not rule who may enter.
        guard folder.number != ExtFilesystem.root else { return try filesystem.touch(folder, operation) }
        let stat = owned(entry.stat)
        var inode = try filesystem.inode(folder.number, operation)
        inode.mode = ExtInode.typeBits(.directory) | UInt16(stat.mode & 0o7777)
        inode.uid = stat.uid
        inode.gid = stat.gid
        inode.setModified(stat.modifiedNanoseconds)
        inode.setChanged(filesystem.now)
        try filesystem.store(inode, folder.number, operation)
        if isNew { filesystem.directories[folder.number] = nil }
    }

    /// Ends the copy: what the folder that holds the top got is written by its owner.
    mutating func finish() throws -> CopyReport {
        try filesystem.data.flush(filesystem)
        let parent = open[0].folder
        if parent.isDirty { try filesystem.touch(parent, operation) }
        tell()
        return report
    }

    // MARK: - Files and links

    mutating func visit(_ entry: HostEntry, open openFile: () throws -> HostFile) throws {
        try cancellation.check()
        let folder = open[open.count - 1].folder
        let name = name(of: entry)
        guard entry.stat.kind == .file || entry.stat.kind == .symlink else {
            let path = open.count > 1 ? (names + [entry.name]).joined(separator: "/") : "."
            return report.refuse(path, ExtCopyIn.reason(entry.stat.kind))
        }
        guard !name.isEmpty else {
            throw BackendError(
                .invalidArgument, operation, "\(entry.name) would replace the root folder", backend: "direct")
        }
        let present = folder[name]
        if let present, try filesystem.kind(of: present, operation) == .directory {
            throw BackendError(
                .invalidArgument, operation, "\(entry.name) would replace a folder of the guest", backend: "direct")
        }
        let number: UInt32
        if entry.stat.links > 1, let first = links[entry.identity] {
            try filesystem.addLink(first, operation)
            number = first
        } else {
            number = try filesystem.takeInode(near: folder.number, isDirectory: false, operation)
            try make(number, entry, openFile)
            if entry.stat.links > 1 { links[entry.identity] = number }
        }
        if let present {
            folder.replace(name, inode: number, type: ExtInode.entryType(entry.stat.kind))
            try filesystem.dropLink(present.inode, operation)
        } else {
            folder.insert(.init(name: name, inode: number, type: ExtInode.entryType(entry.stat.kind)))
        }
        if entry.stat.kind == .file { report.files += 1 }
        advance(0)
    }

    private static func reason(_ kind: FileKind) -> String {
        switch kind {
        case .fifo: "pipe"
        case .socket: "socket"
        case .blockDevice: "block device"
        default: "character device"
        }
    }

    private mutating func make(_ number: UInt32, _ entry: HostEntry, _ openFile: () throws -> HostFile) throws {
        let stat = owned(entry.stat)
        var inode = filesystem.newInode(stat)
        if stat.kind == .symlink {
            try filesystem.setLinkText(GuestPath.bytes(of: stat.target ?? ""), number, &inode)
        } else {
            filesystem.beginMap(&inode)
            let file = try openFile()
            try fill(number, &inode, file)
            report.bytes += file.size
            // Holes and the padding of last blocks: progress counts what files are long.
            moved = report.bytes
        }
        try filesystem.store(inode, number, operation)
    }

    private mutating func fill(_ number: UInt32, _ inode: inout ExtInode, _ file: HostFile) throws {
        try filesystem.setSize(&inode, file.size)
        let size = Int64(filesystem.blockSize)
        var parts: [Range<UInt64>] = []
        for range in try file.dataRanges() {
            let blocks = UInt64(range.lowerBound / size)..<UInt64((range.upperBound + size - 1) / size)
            if let last = parts.last, last.upperBound >= blocks.lowerBound {
                parts[parts.count - 1] = last.lowerBound..<max(last.upperBound, blocks.upperBound)
            } else {
                parts.append(blocks)
            }
        }
        for run in try filesystem.allocate(parts, number, &inode) { try copy(run, file) }
    }

    private mutating func copy(_ run: ExtRun, _ file: HostFile) throws {
        let size = Int64(filesystem.blockSize)
        var source = Int64(run.logical) * size
        var target = Int64(run.physical) * size
        let end = source + Int64(run.count) * size
        while source < end {
            try cancellation.check()
            let count = try filesystem.data.append(at: target, wanted: Int(min(end - source, 1 << 20)), filesystem) {
                room in
                let got = try file.read(at: source, into: room)
                if got < room.count {
                    UnsafeMutableRawBufferPointer(rebasing: room[got...]).initializeMemory(as: UInt8.self, repeating: 0)
                }
            }
            source += Int64(count)
            target += Int64(count)
            advance(min(Int64(count), max(0, file.size - (source - Int64(count)))))
        }
    }

    // MARK: - Progress

    private var moved: Int64 = 0

    private mutating func advance(_ bytes: Int64) {
        moved += bytes
        let now = ContinuousClock.now
        guard now - lastTold >= .milliseconds(50) else { return }
        lastTold = now
        tell()
    }

    private func tell() {
        progress.report(TransferProgress(bytes: moved, files: report.files, totalBytes: max(total, moved)))
    }
}
