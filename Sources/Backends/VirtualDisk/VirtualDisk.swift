import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A disk image that is open: the only way in which anyvisor touches a user's image.
///
/// Opening takes the lock, brings the image to its last commit and checks the header. One transaction at a time.
public final class VirtualDisk: Sendable {
    /// The image.
    public let image: DiskImage
    /// How it is open.
    public let mode: AccessMode
    let file: any ImageFile
    let hook: (@Sendable (CommitStep) -> Void)?
    private let state: Mutex<State>

    private struct State {
        var layout: any ImageLayout
        var transaction: ObjectIdentifier?
        var isClosed = false
    }

    /// Moments of a commit, for fault tests.
    enum CommitStep: Sendable {
        case committed
        case applied
    }

    /// Opens an image.
    ///
    /// - Throws: `notFound`, `permissionDenied`, `inUse`, `corrupt`, `unsupported` for a format that is not known here.
    public static func open(_ image: DiskImage, _ mode: AccessMode) throws -> VirtualDisk {
        guard image.format == .raw || image.format == .vdi else {
            throw BackendError(
                .unsupported, "disk.open",
                "image format '\(image.format)' of \(image.path) is not known; raw and vdi are",
                blame: .caller)
        }
        switch mode {
        case .readWrite: return try VirtualDisk(image, mode, try openForWriting(image.path))
        case .readOnly: return try VirtualDisk(image, mode, try openForReading(image.path))
        }
    }

    init(
        _ image: DiskImage, _ mode: AccessMode, _ file: any ImageFile, hook: (@Sendable (CommitStep) -> Void)? = nil
    ) throws {
        self.image = image
        self.mode = mode
        self.file = file
        self.hook = hook
        let layout = try VirtualDisk.layout(image, file)
        if mode == .readWrite, image.format == .vdi, try file.length() > layout.fileLength {
            // Bytes behind the last block would show in blocks that are given out later.
            try file.truncate(to: layout.fileLength)
        }
        state = Mutex(State(layout: layout))
    }

    private static func layout(_ image: DiskImage, _ file: any ImageFile) throws -> any ImageLayout {
        if image.format == .vdi { return try VDILayout(file) }
        let length = try file.length()
        guard length > 0 else {
            throw BackendError(.corrupt, "disk.open", "image \(image.path) is empty", blame: .disk)
        }
        return RawLayout(size: length)
    }

    private static func openForWriting(_ path: HostPath) throws -> PosixFile {
        let file = try PosixFile(path, O_RDWR)
        guard access(path.parent.string, W_OK) == 0 else {
            throw BackendError(
                .permissionDenied, "disk.open",
                "the folder of \(path) cannot be written, and a commit puts its redo log beside the image; "
                    + "make the folder writable or copy the image elsewhere", blame: .host)
        }
        try ImageLock.take(file, .readWrite)
        try RedoLog.recover(file)
        return file
    }

    private static func openForReading(_ path: HostPath) throws -> any ImageFile {
        let log = RedoLog.path(of: path)
        if HostFiles.exists(log), let writable = try? openForWriting(path) { withExtendedLifetime(writable) {} }
        let file = try PosixFile(path, O_RDONLY)
        try ImageLock.take(file, .readOnly)
        guard HostFiles.exists(log) else { return file }
        let logFile = try PosixFile(log, O_RDONLY | O_NOFOLLOW)
        guard let contents = try RedoLog.read(logFile) else { return file }
        return PatchedFile(file, logFile, contents)
    }

    /// Brings an image to the state of its last commit after a crash; does nothing when somebody has it open.
    ///
    /// - Returns: whether a redo log was applied.
    /// - Throws: what the host says, `notFound`.
    @discardableResult
    public static func recover(_ image: DiskImage) throws -> Bool {
        let file = try PosixFile(image.path, O_RDWR)
        try ImageLock.take(file, .readWrite)
        let applied = try RedoLog.recover(file)
        if image.format == .vdi, let layout = try? VDILayout(file), try file.length() > layout.fileLength {
            try file.truncate(to: layout.fileLength)
        }
        return applied
    }

    /// The committed content; a transaction under way does not show.
    public var content: any BlockDevice { CommittedContent(self) }

    /// Starts a transaction.
    ///
    /// - Throws: `invalidState` on a disk open for reading, or while another transaction is under way.
    public func begin() throws -> DiskTransaction {
        try state.withLock { state in
            guard mode == .readWrite, !state.isClosed else {
                throw BackendError(.invalidState, "disk.write", "image \(image.path) is not open for writing")
            }
            guard state.transaction == nil else {
                throw BackendError(.invalidState, "disk.write", "image \(image.path) has a transaction under way")
            }
            let transaction = DiskTransaction(self, state.layout)
            state.transaction = ObjectIdentifier(transaction)
            return transaction
        }
    }

    // MARK: - For transactions

    var layout: any ImageLayout { state.withLock { $0.layout } }

    func ended(_ transaction: DiskTransaction, _ layout: (any ImageLayout)?) {
        state.withLock { state in
            if state.transaction == ObjectIdentifier(transaction) { state.transaction = nil }
            if let layout { state.layout = layout }
        }
    }

    func makeDraft() throws -> any ImageFile {
        try PosixFile(RedoLog.draftPath(of: file.path), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)
    }

    func readBase(_ layout: any ImageLayout, _ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            let (place, count) = layout.locate(offset + Int64(done))
            let part = UnsafeMutableRawBufferPointer(
                rebasing: buffer[done..<min(buffer.count, done + Int(clamping: count))])
            switch place {
            case .file(let start): try file.read(at: start, into: part)
            case .zero: part.initializeMemory(as: UInt8.self, repeating: 0)
            }
            done += part.count
        }
    }
}

private final class CommittedContent: BlockDevice {
    private let disk: VirtualDisk
    let size: Int64

    init(_ disk: VirtualDisk) {
        self.disk = disk
        size = disk.layout.size
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try disk.readBase(disk.layout, offset, buffer)
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        throw BackendError(.invalidState, "disk.write", "image \(disk.image.path) is open for reading only")
    }

    func flush() throws {}
}
