import Abstractions
import BackendSupport
import CExt2fs

extension ExtFilesystem {
    // MARK: - Inodes

    /// A new inode, not stored yet, with one name.
    func newInode(_ stat: FileStat) -> ExtInode {
        var inode = ExtInode(size: inodeSize)
        inode.begin(mode: ExtInode.typeBits(stat.kind) | UInt16(stat.mode & 0o7777), now: now)
        inode.uid = stat.uid
        inode.gid = stat.gid
        inode.links = 1
        inode.setModified(stat.modifiedNanoseconds)
        return inode
    }

    /// Sets a file's size; one of more than 2 GiB is a feature of the file system.
    func setSize(_ inode: inout ExtInode, _ size: Int64) throws {
        let code = inode.bytes.withUnsafeMutableBytes { ext2fs_inode_size_set(fs, av_inode($0.baseAddress), size) }
        try check(code, "disk.copyIn", "cannot set a file's size")
    }

    /// Puts a link's text into its inode, or into a block when it is longer than 59 bytes.
    func setLinkText(_ text: [UInt8], _ number: UInt32, _ inode: inout ExtInode) throws {
        guard !text.isEmpty, text.count < blockSize else {
            throw BackendError(
                .invalidArgument, "disk.symlink", "a link's text of \(text.count) bytes cannot be stored",
                backend: "direct")
        }
        inode.size = UInt64(text.count)
        guard text.count >= ExtInode.fastLinkLimit else {
            inode.blockArea = (text + [UInt8](repeating: 0, count: ExtInode.fastLinkLimit - text.count))[...]
            return
        }
        beginMap(&inode)
        let run = try allocate([0..<1], number, &inode)[0]
        let block = text + [UInt8](repeating: 0, count: blockSize - text.count)
        try block.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            try channel.write(run.physical, 1, base)
        }
    }

    // MARK: - Operations

    /// The folder that holds a path, and the path's name there; the name is empty for the root.
    func place(_ path: GuestPath, _ operation: String) throws -> (ExtDirectory, [UInt8]) {
        let name = path.components.last.map { GuestPath.bytes(of: $0) } ?? []
        guard name.count <= 255, !name.contains(0) else {
            throw BackendError(
                .invalidArgument, operation, "\(path) has a name of more than 255 bytes", backend: "direct")
        }
        let parent = try resolveFolder(path.parent, operation)
        return (try directory(parent, operation, path.parent.rawValue), name)
    }

    /// Like `resolve`, and a link at the end is followed too, since the path goes on behind it.
    private func resolveFolder(_ path: GuestPath, _ operation: String) throws -> UInt32 {
        guard path != .root else { return ExtFilesystem.root }
        let number = try resolve(path, operation)
        let inode = try inode(number, operation)
        if inode.kind == .symlink {
            let text = GuestPath.name(of: try linkText(number, inode))
            let target = text.utf8.first == 0x2f ? GuestPath(text) : path.parent.appending(text)
            return try resolveFolder(target, operation)
        }
        guard inode.kind == .directory else { throw missing(path, operation) }
        return number
    }

    /// Copies a host file or tree to a path.
    func copyIn(
        _ host: HostPath, to path: GuestPath, options: CopyInOptions, progress: ProgressSink,
        cancellation: CancellationFlag
    ) throws -> CopyReport {
        let reader = try HostTreeReader(host)
        let (parent, name) = try place(path, "disk.copyIn")
        var estimate = ExtSpaceEstimate(blockSize: Int64(blockSize), cancellation: cancellation)
        try reader.walk(&estimate)
        if !name.isEmpty, parent[name] == nil { try estimate.check(against: self) }
        return try changing {
            var copy = ExtCopyIn(
                self, into: parent, as: name, options, progress, cancellation, total: estimate.bytes)
            try reader.walk(&copy)
            return try copy.finish()
        }
    }

    func makeDirectory(_ path: GuestPath, parents: Bool) throws {
        let operation = "disk.makeDirectory"
        if parents, path != .root {
            if isFolder(path, operation) { return }
            try makeDirectory(path.parent, parents: true)
        }
        let (parent, name) = try place(path, operation)
        guard !name.isEmpty, parent[name] == nil else {
            if parents, path == .root { return }
            throw BackendError(.alreadyExists, operation, "\(path) exists already", backend: "direct", blame: .caller)
        }
        try changing {
            let stat = FileStat(kind: .directory, size: ByteCount(0), mode: 0o755, modifiedNanoseconds: now)
            _ = try makeFolder(name, in: parent, stat: stat, operation)
            try touch(parent, operation)
        }
    }

    private func isFolder(_ path: GuestPath, _ operation: String) -> Bool {
        (try? resolveFolder(path, operation)) != nil
    }

    func symlink(_ path: GuestPath, target: String) throws {
        let operation = "disk.symlink"
        let (parent, name) = try place(path, operation)
        guard !name.isEmpty, parent[name] == nil else {
            throw BackendError(.alreadyExists, operation, "\(path) exists already", backend: "direct", blame: .caller)
        }
        let text = GuestPath.bytes(of: target)
        guard !text.isEmpty, text.count < blockSize else {
            throw BackendError(
                .invalidArgument, operation, "a link's text of \(text.count) bytes cannot be stored", backend: "direct")
        }
        try changing {
            let number = try takeInode(near: parent.number, isDirectory: false, operation)
            let stat = FileStat(kind: .symlink, size: ByteCount(0), mode: 0o777, modifiedNanoseconds: now)
            var inode = newInode(stat)
            try setLinkText(text, number, &inode)
            try store(inode, number, operation)
            parent.insert(.init(name: name, inode: number, type: ExtInode.entryType(.symlink)))
            try touch(parent, operation)
        }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) throws {
        let operation = "disk.rename"
        let (source, name) = try place(path, operation)
        let (target, newName) = try place(newPath, operation)
        guard !name.isEmpty, !newName.isEmpty else {
            throw BackendError(.invalidArgument, operation, "the root folder cannot be renamed", backend: "direct")
        }
        guard let entry = source[name] else { throw missing(path, operation) }
        if source === target, name == newName { return }
        let isFolder = try kind(of: entry, operation) == .directory
        let present = target[newName]
        if let present, try isFolder || kind(of: present, operation) == .directory {
            throw BackendError(
                .alreadyExists, operation, "\(newPath) exists already", backend: "direct", blame: .caller)
        }
        if isFolder { try checkOutside(target, of: entry.inode, path) }
        try changing {
            isTouched = true
            source.remove(name, isFolder: isFolder)
            var moved = entry
            moved.name = newName
            if isFolder { moved.type = ExtInode.entryType(.directory) }
            if let present {
                target.replace(newName, inode: moved.inode, type: moved.type)
                try dropLink(present.inode, operation)
            } else {
                target.insert(moved)
            }
            if isFolder, source !== target {
                try directory(entry.inode, operation, path.rawValue).parent = target.number
            }
            try touch(source, operation)
            try touch(target, operation)
        }
    }

    private func checkOutside(_ folder: ExtDirectory, of number: UInt32, _ path: GuestPath) throws {
        var current = folder
        for _ in 0..<100_000 {
            if current.number == number {
                throw BackendError(
                    .invalidArgument, "disk.rename", "\(path) would move into itself", backend: "direct", blame: .caller
                )
            }
            if current.number == ExtFilesystem.root { return }
            current = try directory(current.parent, "disk.rename", "inode \(current.parent)")
        }
        throw ExtError.corrupt("disk.rename", "folders that hold each other")
    }

    func setMetadata(_ path: GuestPath, _ change: MetadataChange) throws {
        let operation = "disk.setMetadata"
        let number = try resolve(path, operation)
        try changing {
            if let folder = directories[number] { try flush(folder) }
            var inode = try inode(number, operation)
            if let mode = change.mode { inode.mode = inode.mode & 0xF000 | UInt16(mode & 0o7777) }
            if let uid = change.uid { inode.uid = uid }
            if let gid = change.gid { inode.gid = gid }
            inode.setChanged(now)
            if let modified = change.modifiedNanoseconds { inode.setModified(modified) }
            try store(inode, number, operation)
        }
    }
}
