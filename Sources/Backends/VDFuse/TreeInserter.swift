import Abstractions
import BackendSupport
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Copies a host file or tree below a mounted file system. One thread at a time; used once.
///
/// Every step is relative to a folder's descriptor and follows no link of the guest. A folder gets its metadata when it is done, so
/// that its own times survive.
struct TreeInserter: HostTreeVisitor {
    private let folder: Int32
    private let name: String
    private let options: CopyInOptions
    private let cancellation: CancellationFlag
    private var meter: CopyMeter
    private var stack: FolderStack?
    private var links: [FileIdentity: [String]] = [:]
    private let buffer: UnsafeMutableRawBufferPointer

    /// What the copy has done so far.
    var report: CopyReport { meter.report }

    /// Copies the top of the tree to a name in an open folder, which stays the caller's.
    static func copy(
        _ reader: HostTreeReader, to name: String, in folder: Int32, options: CopyInOptions, progress: ProgressSink,
        _ cancellation: CancellationFlag
    ) throws -> CopyReport {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        let total = reader.top.stat.kind == .file ? reader.top.stat.size.bytes : nil
        var inserter = TreeInserter(
            folder: folder, name: name, options: options, cancellation: cancellation,
            meter: CopyMeter(progress, totalBytes: total), buffer: buffer)
        try reader.walk(&inserter)
        inserter.meter.tell()
        return inserter.report
    }

    private init(
        folder: Int32, name: String, options: CopyInOptions, cancellation: CancellationFlag, meter: CopyMeter,
        buffer: UnsafeMutableRawBufferPointer
    ) {
        self.folder = folder
        self.name = name
        self.options = options
        self.cancellation = cancellation
        self.meter = meter
        self.buffer = buffer
    }

    // MARK: - The walk

    mutating func enter(_ entry: HostEntry) throws -> Bool {
        try cancellation.check()
        let (parent, name) = try place(entry)
        if HostNames.withCString(name, { mkdirat(parent, $0, 0o700) }) != 0 {
            guard errno == EEXIST, let old = try HostEntry.read(name, below: parent) else {
                throw hostError("copyIn", "cannot make folder \(name)")
            }
            guard old.stat.kind == .directory else {
                throw BackendError(.invalidArgument, "copyIn", "folder \(name) cannot replace a file")
            }
        }
        if let stack {
            try stack.enter(name)
        } else {
            stack = FolderStack(root: try HostNames.openFolder(parent, name))
        }
        return true
    }

    mutating func leave(_ entry: HostEntry) throws {
        guard let stack else { return }
        try setMetadata(".", in: try stack.current(), entry.stat)
        stack.leave()
    }

    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws {
        try cancellation.check()
        switch entry.stat.kind {
        case .file: try addFile(entry, open)
        case .symlink: try addLink(entry)
        case .directory: break
        case .fifo: refuse(entry, "pipe")
        case .socket: refuse(entry, "socket")
        case .blockDevice: refuse(entry, "block device")
        case .characterDevice: refuse(entry, "character device")
        }
    }

    // MARK: - What is not a folder

    private mutating func addFile(_ entry: HostEntry, _ open: () throws -> HostFile) throws {
        let (parent, name) = try place(entry)
        try clear(name, in: parent)
        let isShared = entry.stat.links > 1
        if isShared, let first = links[entry.identity] {
            try link(name, in: parent, to: first, entry.stat)
            return meter.finish(0)
        }
        let source = try open()
        let descriptor = HostNames.open(parent, name, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        guard descriptor >= 0 else { throw hostError("copyIn", "cannot make file \(name)") }
        defer { Glibc.close(descriptor) }
        let size = try copyContent(source, to: descriptor, name)
        try setMetadata(name, in: parent, entry.stat)
        if isShared, let stack { links[entry.identity] = stack.names + [name] }
        meter.finish(size)
    }

    private mutating func copyContent(_ source: HostFile, to descriptor: Int32, _ name: String) throws -> Int64 {
        for range in try source.dataRanges() {
            var position = range.lowerBound
            while position < range.upperBound {
                try cancellation.check()
                let wanted = min(buffer.count, Int(range.upperBound - position))
                let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
                let count = try source.read(at: position, into: piece)
                guard count > 0 else { break }
                try write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: position, to: descriptor, name)
                position += Int64(count)
                meter.advance(Int64(count))
            }
        }
        guard ftruncate(descriptor, off_t(source.size)) == 0 else {
            throw hostError("copyIn", "cannot set the size of \(name)")
        }
        return source.size
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64, to descriptor: Int32, _ name: String) throws {
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset + Int64(done)))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw hostError("copyIn", "cannot write \(name)") }
            done += count
        }
    }

    private mutating func addLink(_ entry: HostEntry) throws {
        let (parent, name) = try place(entry)
        try clear(name, in: parent)
        let made = HostNames.withCString(entry.stat.target ?? "") { target in
            HostNames.withCString(name) { symlinkat(target, parent, $0) }
        }
        guard made == 0 else { throw hostError("copyIn", "cannot make link \(name)") }
        try setMetadata(name, in: parent, entry.stat)
    }

    private func link(_ name: String, in parent: Int32, to first: [String], _ stat: FileStat) throws {
        guard let stack, let firstName = first.last else { return }
        let folder = try stack.open(Array(first.dropLast()))
        defer { Glibc.close(folder) }
        func make() -> Bool {
            HostNames.withCString(firstName) { old in HostNames.withCString(name) { linkat(folder, old, parent, $0, 0) }
            } == 0
        }
        if make() { return }
        guard errno == EPERM else { throw hostError("copyIn", "cannot make hard link \(name)") }
        // The host refuses an ordinary user a second name for a setuid file of somebody else: so it is ours for a moment.
        let ours = MetadataChange(mode: 0o600, uid: getuid(), gid: getgid())
        try HostNames.withCString(firstName) { try MountedTree.apply(ours, to: $0, in: folder, stat) }
        guard make() else { throw hostError("copyIn", "cannot make hard link \(name)") }
        try setMetadata(firstName, in: folder, stat)
    }

    /// A file replaces anything but a folder.
    private func clear(_ name: String, in parent: Int32) throws {
        if HostNames.withCString(name, { unlinkat(parent, $0, 0) }) == 0 || errno == ENOENT { return }
        let number = errno
        if let old = try HostEntry.read(name, below: parent), old.stat.kind == .directory {
            throw BackendError(.invalidArgument, "copyIn", "file \(name) cannot replace a folder")
        }
        throw hostError("copyIn", "cannot replace \(name)", errno: number)
    }

    private func setMetadata(_ name: String, in parent: Int32, _ stat: FileStat) throws {
        let change = MetadataChange(
            mode: stat.mode, uid: options.uid ?? stat.uid, gid: options.gid ?? stat.gid,
            modifiedNanoseconds: stat.modifiedNanoseconds)
        try HostNames.withCString(name) { try MountedTree.apply(change, to: $0, in: parent, stat) }
    }

    private func place(_ entry: HostEntry) throws -> (Int32, String) {
        guard let stack else { return (folder, name) }
        return (try stack.current(), entry.name)
    }

    private mutating func refuse(_ entry: HostEntry, _ reason: String) {
        meter.refuse((stack?.names ?? []) + [stack == nil ? "." : entry.name], reason)
    }
}
