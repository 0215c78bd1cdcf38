import Abstractions
import CHost

#if canImport(Glibc)
    import Glibc
#endif

/// A raw disk whose file stays in its place while its content is exchanged, because a paused machine has it open.
public final class SparseFile: Sendable {
    /// The file.
    public let path: HostPath
    /// Its size in bytes, which does not change.
    public let size: Int64
    private let descriptor: Int32

    /// Makes the file, empty.
    ///
    /// - Throws: what the host says, also when it exists.
    public init(making path: HostPath, size: Int64) throws {
        let descriptor = open(path.string, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw hostError("host.write", "cannot make \(path)") }
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            let failure = hostError("host.write", "cannot make \(path)")
            Glibc.close(descriptor)
            throw failure
        }
        self.path = path
        self.size = size
        self.descriptor = descriptor
    }

    /// Makes everything zero, and gives its space back.
    ///
    /// - Throws: what the host says.
    public func clear() throws {
        // FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of Linux's falloc.h.
        if fallocate(descriptor, 1 | 2, 0, off_t(size)) == 0 { return }
        // A file system without holes: shorter, and longer again.
        guard ftruncate(descriptor, 0) == 0, ftruncate(descriptor, off_t(size)) == 0 else {
            throw hostError("host.write", "cannot clear \(path)")
        }
    }

    /// Becomes a copy of a file, which is not longer; what is behind its end is zero.
    ///
    /// - Throws: what the host says.
    public func fill(from source: HostPath) throws {
        try clear()
        let file = try HostFile(source)
        guard file.size <= size else {
            throw BackendError(.invalidArgument, "host.write", "\(source) does not fit into \(path)")
        }
        for range in try file.dataRanges() {
            try file.read(range) { offset, bytes in try Self.write(bytes, at: offset, descriptor, path) }
        }
    }

    /// Writes bytes at an offset.
    ///
    /// - Throws: what the host says.
    public func write(_ bytes: [UInt8], at offset: Int64) throws {
        try bytes.withUnsafeBytes { try Self.write($0, at: offset, descriptor, path) }
    }

    /// Copies its first bytes into a file that exists, whose content goes.
    ///
    /// - Throws: what the host says.
    public func copyOut(_ count: Int64, to target: HostPath) throws {
        let output = open(target.string, O_WRONLY | O_TRUNC | O_CLOEXEC)
        guard output >= 0 else { throw hostError("host.write", "cannot write \(target)") }
        defer { Glibc.close(output) }
        guard ftruncate(output, off_t(count)) == 0 else { throw hostError("host.write", "cannot write \(target)") }
        let file = try HostFile(path)
        for range in try file.dataRanges() where range.lowerBound < count {
            try file.read(range.lowerBound..<min(range.upperBound, count)) { offset, bytes in
                try Self.write(bytes, at: offset, output, target)
            }
        }
    }

    private static func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int64, _ descriptor: Int32, _ path: HostPath
    ) throws {
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw hostError("host.write", "cannot write \(path)") }
            done += count
        }
    }

    deinit { Glibc.close(descriptor) }
}
