import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension VirtualDisk {
    /// Makes a new image, empty and sparse.
    ///
    /// - Throws: `alreadyExists`, `invalidArgument` for a size that is not a positive multiple of 512, `unsupported`, `noSpace`.
    public static func create(_ image: DiskImage, size: ByteCount, fixed: Bool = false) throws {
        try makeWhole(image.path) { try write(DiskImage(path: $0, format: image.format), size, fixed) }
    }

    private static func write(_ image: DiskImage, _ size: ByteCount, _ fixed: Bool) throws {
        guard size.bytes > 0, size.bytes % 512 == 0, size <= .gib(2048) else {
            throw BackendError(
                .invalidArgument, "disk.create",
                "a disk's size is a multiple of 512 bytes up to 2 TiB, not \(size.bytes)")
        }
        guard image.format == .raw || image.format == .vdi else {
            throw BackendError(
                .unsupported, "disk.create", "images of format '\(image.format)' cannot be made; raw and vdi can",
                blame: .caller)
        }
        let file = try PosixFile(image.path, O_RDWR | O_CREAT | O_EXCL)
        if image.format == .raw {
            try file.truncate(to: size.bytes)
        } else {
            let new = VDILayout.new(size: size.bytes, fixed: fixed)
            try file.truncate(to: new.fileLength)
            try file.write(at: new.mapOffset, bytes: new.map)
            try file.write(at: 0, bytes: new.head)
        }
        try file.sync()
    }

    /// Writes the disk's whole content to a new raw file; what is zero becomes a hole.
    ///
    /// - Throws: `alreadyExists`, `noSpace`; the file is then not there.
    public func export(to path: HostPath, progress: ProgressSink = .none) throws {
        try VirtualDisk.makeWhole(path) { path in
            let file = try PosixFile(path, O_RDWR | O_CREAT | O_EXCL)
            try file.truncate(to: content.size)
            try copyData(progress, to: file.write(at:from:))
            try file.sync()
        }
    }

    /// Makes a new image of a raw file's content; what is zero takes no room.
    ///
    /// - Throws: `alreadyExists`, `notFound`, `noSpace`, `inUse`, `invalidArgument` when its size is no multiple of 512.
    public static func importRaw(_ source: HostPath, as image: DiskImage, progress: ProgressSink = .none) throws {
        let disk = try VirtualDisk.open(DiskImage(path: source, format: .raw), .readOnly)
        try makeWhole(image.path) { path in
            let draft = DiskImage(path: path, format: image.format)
            try write(draft, ByteCount(disk.content.size), false)
            let transaction = try VirtualDisk.open(draft, .readWrite).begin()
            try disk.copyData(progress, to: transaction.writeFresh(at:from:))
            try transaction.commit()
        }
    }

    /// Passes on all of the content that is not zero, in its order, in pieces of at most 1 MiB.
    private func copyData(_ progress: ProgressSink, to write: (Int64, UnsafeRawBufferPointer) throws -> Void) throws {
        let (device, layout) = (content, layout)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var offset: Int64 = 0
        while offset < device.size {
            let (place, count) = layout.locate(offset)
            var skipped = count
            if case .file(let start) = place { skipped = try file.hole(at: start, count: count) }
            if skipped == 0 {
                // Pieces end where the buffer would on the disk, so that blocks of an image are filled by one write.
                let part = Int(min(count, Int64(buffer.count) - offset % Int64(buffer.count)))
                let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<part])
                try device.read(at: offset, into: piece)
                try VirtualDisk.writeData(UnsafeRawBufferPointer(piece)) { try write(offset + Int64($0), $1) }
                skipped = Int64(part)
            }
            offset += skipped
            progress.report(TransferProgress(bytes: offset, files: 0, totalBytes: device.size))
        }
    }

    /// Writes the runs of 64 KiB that are not zero.
    private static func writeData(
        _ bytes: UnsafeRawBufferPointer, to write: (Int, UnsafeRawBufferPointer) throws -> Void
    )
        throws
    {
        var start: Int?
        for offset in stride(from: 0, to: bytes.count, by: 1 << 16) {
            let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<min(bytes.count, offset + 1 << 16)])
            if !isZero(part) {
                start = start ?? offset
            } else if let from = start {
                try write(from, UnsafeRawBufferPointer(rebasing: bytes[from..<offset]))
                start = nil
            }
        }
        if let from = start { try write(from, UnsafeRawBufferPointer(rebasing: bytes[from...])) }
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress, let first = bytes.first else { return true }
        return first == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
    }

    /// Makes a file under another name and renames it when it is whole.
    private static func makeWhole(_ path: HostPath, _ body: (HostPath) throws -> Void) throws {
        let path = HostFiles.absolute(path)
        guard !HostFiles.exists(path) else { throw exists(path) }
        let draft = HostPath("\(path.string).part-\(getpid())-\(UInt32.random(in: 0...UInt32.max))")
        do {
            try RunScope.current?.journal.append(.path(draft))
            try body(draft)
            try name(draft, path)
        } catch {
            unlink(draft.string)
            throw error
        }
        try HostFiles.syncDirectory(path.parent)
    }

    /// Gives a file its name unless somebody else has it by now.
    private static func name(_ draft: HostPath, _ path: HostPath) throws {
        let noReplace: UInt32 = 1
        if av_renameat2(AT_FDCWD, draft.string, AT_FDCWD, path.string, noReplace) == 0 { return }
        if errno == EEXIST { throw exists(path) }
        guard errno == EINVAL || errno == ENOSYS else { throw hostError("disk.create", "cannot make \(path)") }
        // Some network file systems cannot rename without replacing.
        guard rename(draft.string, path.string) == 0 else { throw hostError("disk.create", "cannot make \(path)") }
    }

    private static func exists(_ path: HostPath) -> BackendError {
        BackendError(.alreadyExists, "disk.create", "\(path) exists already", blame: .caller)
    }
}
