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
        try makeWhole(image.path) { try write(image.at($0), NewImage(size: size.bytes, fixed: fixed)) }
    }

    /// Makes a new layer on an image: it reads as the image does, and what is written to it leaves the image alone.
    ///
    /// The image must stay as it is from now on. It is found again beside the layer, in a folder `Snapshots` of either, or in the
    /// layer's `parentFolders`.
    /// - Parameter size: the disk's size; nil takes the image's own.
    /// - Throws: `alreadyExists`, what `open` says of the image, `invalidArgument` for one of another format or without a uuid,
    ///   and for a size below its own; `unsupported` for a format without layers.
    public static func create(_ layer: DiskImage, over image: DiskImage, size: ByteCount? = nil) throws {
        if layer.format == .qcow2 { return try createQCOW2(layer, over: image, size) }
        guard KnownFormat.of(layer.format)?.links != nil else {
            throw BackendError(
                .unsupported, "disk.create",
                "format '\(layer.format)' has no layers; \(KnownFormat.names { $0.links != nil }) have", blame: .caller)
        }
        let parent = try VirtualDisk.open(image, .readOnly)
        guard layer.format == image.format, let links = parent.layout.links else {
            throw BackendError(
                .invalidArgument, "disk.create",
                "a layer has the format of its parent, and \(image.path) is \(image.format)"
                    + (parent.layout.links == nil ? " without a uuid" : ""), blame: .caller)
        }
        let size = size?.bytes ?? parent.content.size
        guard size >= parent.content.size else {
            throw BackendError(
                .invalidArgument, "disk.create",
                "a layer of \(size) bytes is smaller than its parent of \(parent.content.size)", blame: .caller)
        }
        try makeWhole(layer.path) { draft in
            try write(layer.at(draft), NewImage(size: size, parent: (links, parent.image.path)))
        }
    }

    /// A qcow2 image may lie over an image of any format that QEMU reads; the parent is opened by us alone, for its size.
    private static func createQCOW2(_ layer: DiskImage, over image: DiskImage, _ size: ByteCount?) throws {
        let parent = try VirtualDisk.open(image, .readOnly)
        let bytes = size?.bytes ?? parent.content.size
        guard bytes >= parent.content.size else {
            throw BackendError(
                .invalidArgument, "disk.create",
                "a layer of \(bytes) bytes is smaller than its parent of \(parent.content.size)", blame: .caller)
        }
        try makeWhole(layer.path) { try ForeignTool.makeQCOW2($0, size: bytes, parent: parent.image) }
    }

    private static func write(_ image: DiskImage, _ new: NewImage) throws {
        guard new.size > 0, new.size % 512 == 0, new.size <= ByteCount.gib(2048).bytes else {
            throw BackendError(
                .invalidArgument, "disk.create",
                "a disk's size is a multiple of 512 bytes up to 2 TiB, not \(new.size)")
        }
        guard let make = KnownFormat.of(image.format)?.make else {
            throw BackendError(
                .unsupported, "disk.create",
                "images of format '\(image.format)' cannot be made; \(KnownFormat.names { $0.make != nil }) can",
                blame: .caller)
        }
        let file = try PosixFile(image.path, O_RDWR | O_CREAT | O_EXCL)
        try make(file, new)
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
    public static func importRaw(
        _ source: HostPath, as image: DiskImage, fixed: Bool = false, progress: ProgressSink = .none
    ) throws {
        let disk = try VirtualDisk.open(DiskImage(path: source, format: .raw), .readOnly)
        try makeWhole(image.path) { path in
            let draft = image.at(path)
            try write(draft, NewImage(size: disk.content.size, fixed: fixed))
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
            let (source, most) = try source(layout, offset)
            let count = min(most, device.size - offset)
            var skipped = count
            if let source { skipped = try source.file.hole(at: source.place, count: count) }
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
