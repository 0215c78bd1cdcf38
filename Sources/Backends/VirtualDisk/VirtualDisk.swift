import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A disk image that is open: the only way in which anyvisor touches a user's image.
///
/// Opening takes the lock, brings the image to its last commit and checks the header. One transaction at a time. The image is
/// let go when the last reference to the disk, its content and its transaction is gone.
public final class VirtualDisk: Sendable {
    /// The image, by its absolute path with links resolved: the log lies beside the file itself.
    public let image: DiskImage
    /// How it is open.
    public let mode: AccessMode
    let file: any ImageFile
    /// The layers below, nearest first.
    let parents: [Layer]
    let folder: any SidecarFolder
    private let state: Mutex<State>
    /// Held for reading by reads of the content, for writing while a commit changes it.
    private let gate = ReadWriteLock()

    private struct State {
        var layout: any ImageLayout
        var transaction: ObjectIdentifier?
        var isAnnounced = false
        var failure: BackendError?
    }

    /// Opens an image, with all the layers that it was made on.
    ///
    /// - Throws: `notFound` also for a parent, `permissionDenied`, `inUse`, `invalidState` for writing to another layer's parent,
    ///   `corrupt` also for layers that do not fit, `unsupported` for a format that is not known here, `invalidArgument` for
    ///   writing to what may be stale.
    public static func open(_ image: DiskImage, _ mode: AccessMode) throws -> VirtualDisk {
        let known = try KnownFormat.readable(image)
        guard image.snapshot == nil || image.format == .qcow2 else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(image.path) is \(image.format), and only qcow2 images have snapshots inside; a layer is a file of its own",
                blame: .caller)
        }
        guard mode == .readOnly || image.forceStale != true else {
            throw BackendError(
                .invalidArgument, "disk.open",
                "\(image.path) is not written while somebody else may write to it; leave out --force-stale",
                blame: .caller)
        }
        if known.isForeign { return try ForeignImage.open(resolved(image), mode) }
        let image = resolved(image)
        switch mode {
        case .readWrite: return try VirtualDisk(image, mode, try openForWriting(image))
        case .readOnly: return try VirtualDisk(image, mode, try openForReading(image))
        }
    }

    init(_ image: DiskImage, _ mode: AccessMode, _ file: any ImageFile, _ folder: any SidecarFolder = HostFolder())
        throws
    {
        self.image = image
        self.mode = mode
        self.file = file
        self.folder = folder
        let layout = try VirtualDisk.layout(image, file)
        parents = try VirtualDisk.openParents(of: image, layout)
        if mode == .readWrite {
            try VirtualDisk.refuseParent(image, layout)
            try VirtualDisk.cut(file, to: layout)
        }
        state = Mutex(State(layout: layout))
    }

    private static func layout(_ image: DiskImage, _ file: any ImageFile) throws -> any ImageLayout {
        guard let layout = try KnownFormat.readable(image).layout?(file) else {
            throw BackendError(.unsupported, "disk.open", "images of format '\(image.format)' cannot be opened")
        }
        return layout
    }

    /// Bytes behind the last block would show in blocks that are given out later.
    private static func cut(_ file: any ImageFile, to layout: any ImageLayout) throws {
        if try file.length() > layout.fileLength { try file.truncate(to: layout.fileLength) }
    }

    static func resolved(_ image: DiskImage) -> DiskImage {
        image.at(HostFiles.resolved(image.path) ?? HostFiles.absolute(image.path))
    }

    private static func openForWriting(_ image: DiskImage) throws -> PosixFile {
        let path = image.path
        let file = try PosixFile(path, O_RDWR)
        guard !file.isBlockDevice else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(path) is a device, and a commit puts its redo log beside the image; copy it to a file",
                blame: .caller)
        }
        guard access(path.parent.string, W_OK) == 0 else {
            throw BackendError(
                .permissionDenied, "disk.open",
                "the folder of \(path) cannot be written, and a commit puts its redo log beside the image; "
                    + "make the folder writable or copy the image elsewhere", blame: .host)
        }
        try ImageLock.take(file, .readWrite)
        if KnownFormat.of(image.format)?.isVirtualBox == true { try ImageLock.refuseVirtualBox([path], .readWrite) }
        try RedoLog.recover(file)
        return file
    }

    private static func openForReading(_ image: DiskImage) throws -> any ImageFile {
        let path = image.path
        if image.forceStale == true { return try openToRead(image) }
        let log = RedoLog.path(of: path)
        if HostFiles.exists(log), let writable = try? openForWriting(image) { withExtendedLifetime(writable) {} }
        let file = try openToRead(image)
        if KnownFormat.of(image.format)?.isVirtualBox == true { try ImageLock.refuseVirtualBox([path], .readOnly) }
        return file
    }

    /// Opens a file as its committed log says it is, and changes neither.
    static func openToRead(_ image: DiskImage) throws -> any ImageFile {
        let file = try PosixFile(image.path, O_RDONLY)
        if image.forceStale != true { try ImageLock.take(file, .readOnly) }
        guard let (logFile, contents) = try RedoLog.find(for: file) else { return file }
        return PatchedFile(file, logFile, contents)
    }

    /// Brings an image to the state of its last commit after a crash, and removes what dead transactions left beside it.
    ///
    /// - Returns: whether a redo log was applied.
    /// - Throws: `inUse` when somebody has the image open, `permissionDenied`, what the host says. An image that is gone is no
    ///   error: its leftovers are removed.
    @discardableResult
    public static func recover(_ image: DiskImage) throws -> Bool {
        let image = resolved(image)
        guard HostFiles.exists(image.path) else {
            try RedoLog.removeDrafts(of: image.path)
            return false
        }
        if KnownFormat.of(image.format)?.isForeign == true { return try ForeignImage.recover(image) }
        let file = try PosixFile(image.path, O_RDWR)
        try ImageLock.take(file, .readWrite)
        let applied = try RedoLog.recover(file)
        if let layout = try? layout(image, file) { try cut(file, to: layout) }
        return applied
    }

    /// The committed content; a transaction under way does not show.
    public var content: any BlockDevice { CommittedContent(self, layout.size) }

    /// Starts a transaction.
    ///
    /// - Throws: `invalidState` on a disk open for reading, or while another transaction is under way; after a commit that could
    ///   not be finished, its error.
    public func begin() throws -> DiskTransaction {
        try state.withLock { state in
            guard mode == .readWrite else {
                throw BackendError(.invalidState, "disk.write", "image \(image.path) is not open for writing")
            }
            if let failure = state.failure { throw failure }
            guard state.transaction == nil else {
                throw BackendError(.invalidState, "disk.write", "image \(image.path) has a transaction under way")
            }
            let transaction = DiskTransaction(self, state.layout)
            state.transaction = ObjectIdentifier(transaction)
            return transaction
        }
    }
}

// MARK: - For transactions

extension VirtualDisk {
    var layout: any ImageLayout { state.withLock { $0.layout } }

    /// Writes down, once, that the image may get a redo log.
    func announce() throws {
        try state.withLock { state in
            guard !state.isAnnounced else { return }
            try RunScope.current?.journal.append(.redo(image))
            state.isAnnounced = true
        }
    }

    func ended(_ transaction: DiskTransaction) {
        file.settle()
        state.withLock { if $0.transaction == ObjectIdentifier(transaction) { $0.transaction = nil } }
    }

    func makeDraft() throws -> any ImageFile {
        let draft = try folder.create(RedoLog.draftPath(of: file.path), beside: file)
        do {
            try draft.write(at: 0, bytes: RedoLog.draftMagic)
        } catch {
            try? folder.remove(draft.path)
            throw error
        }
        return draft
    }

    /// Blocks that were appended for fresh data are not part of the image.
    func dropAppended(_ transaction: DiskTransaction, _ layout: any ImageLayout) {
        state.withLock { state in
            guard state.transaction == ObjectIdentifier(transaction) else { return }
            state.transaction = nil
            guard state.failure == nil, layout.fileLength > state.layout.fileLength else { return }
            do {
                try file.truncate(to: state.layout.fileLength)
            } catch {
                // The next transaction would give out blocks that are not empty.
                state.failure = BackendError.wrapping(error, "disk.write")
            }
        }
    }

    /// Takes a log that is past its commit point over into the image.
    func replaceContent(
        _ transaction: DiskTransaction, _ contents: RedoLog.Contents, _ log: any ImageFile, _ layout: any ImageLayout
    ) throws {
        let target = RedoLog.path(of: file.path)
        try gate.writing {
            do {
                try RedoLog.apply(contents, from: log, to: file)
                try folder.remove(target)
                try folder.sync(target.parent)
            } catch {
                throw fail(error, "is committed but not in the image yet")
            }
            state.withLock { state in
                state.layout = layout
                state.layout.committed()
            }
        }
        ended(transaction)
    }

    /// Nothing of the disk can be trusted any more before it is opened again.
    func fail(_ error: any Error, _ what: String) -> BackendError {
        let cause = BackendError.wrapping(error, "disk.commit")
        let failure = BackendError(
            cause.code, "disk.commit",
            "the change of \(image.path) \(what): its redo log \(RedoLog.path(of: file.path)) is kept, "
                + "and the next open finishes it", blame: cause.blame, retry: .reopen, causes: [cause])
        state.withLock { $0.failure = $0.failure ?? failure }
        return failure
    }

    func readBase(_ layout: any ImageLayout, _ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            let (source, count) = try source(layout, offset + Int64(done))
            let part = UnsafeMutableRawBufferPointer(
                rebasing: buffer[done..<min(buffer.count, done + Int(clamping: count))])
            if let source {
                try source.file.read(at: source.place, into: part)
            } else {
                part.initializeMemory(as: UInt8.self, repeating: 0)
            }
            done += part.count
        }
    }

    fileprivate func readContent(_ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        try gate.reading {
            let (layout, failure) = state.withLock { ($0.layout, $0.failure) }
            if let failure { throw failure }
            try readBase(layout, offset, buffer)
        }
    }
}

private final class CommittedContent: BlockDevice {
    private let disk: VirtualDisk
    let size: Int64

    init(_ disk: VirtualDisk, _ size: Int64) {
        self.disk = disk
        self.size = size
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try disk.readContent(offset, buffer)
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        throw BackendError(.invalidState, "disk.write", "image \(disk.image.path) is open for reading only")
    }

    func flush() throws {}
}
