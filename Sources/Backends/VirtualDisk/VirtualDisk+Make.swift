import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension VirtualDisk {
    /// Makes a new image, empty and sparse.
    ///
    /// - Throws: `alreadyExists`, `invalidArgument` for a size that is not a positive multiple of 512, `unsupported`, `noSpace`.
    public static func create(_ image: DiskImage, size: ByteCount, fixed: Bool = false) throws {
        guard size.bytes > 0, size.bytes % 512 == 0, size <= .gib(2048) else {
            throw BackendError(
                .invalidArgument, "disk.create",
                "a disk's size is a multiple of 512 bytes up to 2 TiB, not \(size.bytes)")
        }
        try makeWhole(image.path) { path in
            let file = try PosixFile(path, O_RDWR | O_CREAT | O_EXCL)
            switch image.format {
            case .raw: try file.truncate(to: size.bytes)
            case .vdi:
                let new = VDILayout.new(size: size.bytes, fixed: fixed)
                try file.truncate(to: new.fileLength)
                try file.write(at: new.mapOffset, bytes: new.map)
                try file.write(at: 0, bytes: new.head)
            default:
                throw BackendError(
                    .unsupported, "disk.create", "images of format '\(image.format)' cannot be made; raw and vdi can",
                    blame: .caller)
            }
            try file.sync()
        }
    }

    /// Writes the disk's whole content to a new raw file; what is zero becomes a hole.
    ///
    /// - Throws: `alreadyExists`, `noSpace`; the file is then not there.
    public func export(to path: HostPath, progress: ProgressSink = .none) throws {
        let device = content
        try VirtualDisk.makeWhole(path) { path in
            let file = try PosixFile(path, O_RDWR | O_CREAT | O_EXCL)
            try file.truncate(to: device.size)
            try VirtualDisk.copy(
                device.size, progress, from: { try device.read(at: $0, into: $1) }, to: file.write(at:from:))
            try file.sync()
        }
    }

    /// Makes a new image of a raw file's content; what is zero takes no room.
    ///
    /// - Throws: `alreadyExists`, `notFound`, `noSpace`, `invalidArgument` when its size is no multiple of 512.
    public static func importRaw(_ source: HostPath, as image: DiskImage, progress: ProgressSink = .none) throws {
        let file = try PosixFile(source, O_RDONLY)
        let size = try file.length()
        guard !HostFiles.exists(image.path) else { throw exists(image.path) }
        try create(image, size: ByteCount(size))
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            let transaction = try disk.begin()
            try copy(size, progress, from: { try file.read(at: $0, into: $1) }, to: transaction.writeFresh(at:from:))
            try transaction.commit()
        } catch {
            unlink(image.path.string)
            throw error
        }
    }

    private static func copy(
        _ size: Int64, _ progress: ProgressSink, from read: (Int64, UnsafeMutableRawBufferPointer) throws -> Void,
        to write: (Int64, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var offset: Int64 = 0
        while offset < size {
            let count = Int(min(Int64(buffer.count), size - offset))
            try buffer.withUnsafeMutableBytes { whole in
                let part = UnsafeMutableRawBufferPointer(rebasing: whole[..<count])
                try read(offset, part)
                if !isZero(UnsafeRawBufferPointer(part)) { try write(offset, UnsafeRawBufferPointer(part)) }
            }
            offset += Int64(count)
            progress.report(TransferProgress(bytes: offset, files: 0, totalBytes: size))
        }
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress, let first = bytes.first else { return true }
        return first == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
    }

    /// Makes a file under another name and renames it when it is whole.
    private static func makeWhole(_ path: HostPath, _ body: (HostPath) throws -> Void) throws {
        guard !HostFiles.exists(path) else { throw exists(path) }
        let draft = HostPath("\(path.string).part\(getpid())")
        do {
            try RunScope.current?.journal.append(.path(draft))
            try body(draft)
        } catch {
            unlink(draft.string)
            throw error
        }
        guard link(draft.string, path.string) == 0 else {
            let failure = hostError("disk.create", "cannot make \(path)")
            unlink(draft.string)
            throw failure
        }
        unlink(draft.string)
        try HostFiles.syncDirectory(path.parent)
    }

    private static func exists(_ path: HostPath) -> BackendError {
        BackendError(.alreadyExists, "disk.create", "\(path) exists already", blame: .caller)
    }

    /// Tells an image's format from its name, confirmed by its header.
    ///
    /// - Throws: `invalidArgument` when the two disagree, or when neither says anything.
    public static func detectFormat(_ path: HostPath) throws -> ImageFormat {
        let head = try PosixFile(path, O_RDONLY).bytes(at: 0, count: 512)
        let header: ImageFormat? =
            if head.u32(0x40) == VDILayout.signature {
                .vdi
            } else if Array(head[0..<4]) == [0x51, 0x46, 0x49, 0xfb] {
                .qcow2
            } else if Array("anyvisor-memory-disk".utf8) == Array(head[0..<20]) {
                .memory
            } else {
                nil
            }
        let name: ImageFormat? =
            switch path.fileExtension {
            case "vdi": .vdi
            case "qcow2": .qcow2
            case "img", "raw", "bin": .raw
            default: nil
            }
        switch (name, header) {
        case (let name?, let header?) where name == header: return name
        case (.raw?, nil): return .raw
        case (.vdi?, nil):
            // Opening says what is wrong with the header.
            return .vdi
        case (nil, let header?): return header
        default:
            throw BackendError(
                .invalidArgument, "disk.format",
                "the format of \(path) is not clear: its name says \(name?.rawValue ?? "nothing"), its header "
                    + "\(header?.rawValue ?? "nothing"); give --format", blame: .caller)
        }
    }
}
