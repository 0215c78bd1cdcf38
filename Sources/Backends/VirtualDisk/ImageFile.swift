import Abstractions
import CHost
import Host
import Synchronization

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
    /// How many of the `count` bytes from `offset` on are known, without reading them, to be zero; 0 when nothing is known.
    func hole(at offset: Int64, count: Int64) throws -> Int64
    /// Makes sure that a later write to the range cannot fail for want of space.
    func reserve(at offset: Int64, count: Int64) throws
    /// Follows the last `reserve` of a commit.
    func finishReserving() throws
    /// Sets the length.
    func truncate(to length: Int64) throws
    /// Follows a commit that is durable: nothing is under way any more.
    func settle()
    /// Makes all writes durable. The first failure is final: the host may forget it and say success the next time.
    func sync() throws
}

extension ImageFile {
    func hole(at offset: Int64, count: Int64) throws -> Int64 { 0 }
    func finishReserving() throws {}
    func settle() {}

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
    let isBlockDevice: Bool
    /// What was written in one piece lately.
    private let run = Mutex<Range<Int64>>(0..<0)

    // Linux's SEEK_DATA and SEEK_HOLE, which the Swift overlay does not import.
    private static let seekData: Int32 = 3
    private static let seekHole: Int32 = 4

    /// Opens a file; `flags` and `mode` as for open(2).
    ///
    /// - Throws: `notFound`, `permissionDenied`, `invalidArgument` for what is neither a file nor a block device.
    init(_ path: HostPath, _ flags: Int32, mode: mode_t = 0o644) throws {
        // A named pipe must not block the open.
        descriptor = open(path.string, flags | O_CLOEXEC | O_NONBLOCK, mode)
        guard descriptor >= 0 else { throw hostError("disk.open", "cannot open image \(path)") }
        self.path = path
        var info = stat()
        let kind = fstat(descriptor, &info) == 0 ? info.st_mode & S_IFMT : 0
        isBlockDevice = kind == S_IFBLK
        guard kind == S_IFREG || isBlockDevice else {
            Glibc.close(descriptor)
            throw BackendError(.invalidArgument, "disk.open", "\(path) is not a file", blame: .caller)
        }
    }

    deinit {
        // A child that is just being started holds a copy of the descriptor until its exec: closing alone would leave the lock.
        ImageLock.release(self)
        Glibc.close(descriptor)
    }

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
        beginWriteback(offset, Int64(buffer.count))
    }

    /// Content on its way: the disk may begin now, so that the sync at the end finds little to do. In long runs only, since each
    /// request makes the file system choose places.
    private func beginWriteback(_ offset: Int64, _ count: Int64) {
        let longRun: Int64 = 8 << 20
        let ready: Range<Int64>? = run.withLock { run in
            run = run.upperBound == offset ? run.lowerBound..<offset + count : offset..<offset + count
            guard run.upperBound - run.lowerBound >= longRun else { return nil }
            defer { run = run.upperBound..<run.upperBound }
            return run
        }
        let beginOnly: UInt32 = 2
        guard let ready else { return }
        _ = sync_file_range(descriptor, off_t(ready.lowerBound), off_t(ready.upperBound - ready.lowerBound), beginOnly)
    }

    func hole(at offset: Int64, count: Int64) throws -> Int64 {
        let data = lseek(descriptor, off_t(offset), PosixFile.seekData)
        if data < 0 { return errno == ENXIO ? count : 0 }
        return min(Int64(data) - offset, count)
    }

    func reserve(at offset: Int64, count: Int64) throws {
        // What is data up to its end has its room; asking is cheaper than a no-op of the allocator.
        if lseek(descriptor, off_t(offset), PosixFile.seekHole) >= off_t(offset + count) { return }
        while fallocate(descriptor, 0, off_t(offset), off_t(count)) != 0 {
            if errno == EINTR { continue }
            if errno == EOPNOTSUPP || errno == ENOSYS { return }
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
