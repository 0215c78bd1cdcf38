import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The file under an image; tests put a faulty one in its place.
protocol ImageFile: AnyObject, Sendable {
    /// For messages.
    var path: HostPath { get }
    /// Its length now.
    func length() throws -> Int64
    /// Fills the buffer; bytes past the end are zero.
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws
    /// Writes all of the buffer.
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws
    /// Makes sure that a later write to the range cannot fail for want of space.
    func reserve(at offset: Int64, count: Int64) throws
    /// Sets the length.
    func truncate(to length: Int64) throws
    /// Makes all writes durable. The first failure is final: the host may forget it and say success the next time.
    func sync() throws
}

extension ImageFile {
    func bytes(at offset: Int64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try read(at: offset, into: $0) }
        return bytes
    }

    func write(at offset: Int64, bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try write(at: offset, from: $0) }
    }
}

/// A real file.
final class PosixFile: ImageFile {
    let path: HostPath
    let descriptor: Int32

    /// Opens a file; `flags` as for open(2).
    ///
    /// - Throws: `notFound`, `permissionDenied`, `invalidArgument` for a folder or device.
    init(_ path: HostPath, _ flags: Int32) throws {
        descriptor = open(path.string, flags | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw hostError("disk.open", "cannot open image \(path)") }
        self.path = path
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG || info.st_mode & S_IFMT == S_IFBLK else {
            Glibc.close(descriptor)
            throw BackendError(.invalidArgument, "disk.open", "\(path) is not a file", blame: .caller)
        }
    }

    deinit { Glibc.close(descriptor) }

    func length() throws -> Int64 {
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw hostError("disk.read", "cannot measure \(path)") }
        return Int64(end)
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            guard let base = buffer.baseAddress else { return }
            let count = pread(descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw hostError("disk.read", "cannot read image \(path)") }
            if count == 0 {
                memset(base + done, 0, buffer.count - done)
                return
            }
            done += count
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            guard let base = buffer.baseAddress else { return }
            let count = pwrite(descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw hostError("disk.write", "cannot write image \(path)") }
            done += count
        }
        // Content on its way: the disk may begin now (SYNC_FILE_RANGE_WRITE, 2), so that the sync at the end finds little to do.
        if buffer.count >= 1 << 20 { _ = sync_file_range(descriptor, off_t(offset), off_t(buffer.count), 2) }
    }

    func reserve(at offset: Int64, count: Int64) throws {
        if fallocate(descriptor, 0, off_t(offset), off_t(count)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS {
            throw hostError("disk.write", "no room for image \(path)")
        }
    }

    func truncate(to length: Int64) throws {
        guard ftruncate(descriptor, off_t(length)) == 0 else {
            throw hostError("disk.write", "cannot resize image \(path)")
        }
    }

    func sync() throws {
        guard fdatasync(descriptor) == 0 else { throw hostError("disk.write", "cannot sync image \(path)") }
    }
}
