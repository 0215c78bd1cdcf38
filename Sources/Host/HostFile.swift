import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// A regular file of this host, open for reading.
public final class HostFile {
    /// Its size when it was opened.
    public let size: Int64
    /// Its descriptor, owned by this object.
    public let descriptor: Int32

    /// Takes over a descriptor.
    public init(descriptor: Int32, size: Int64) {
        self.descriptor = descriptor
        self.size = size
        posix_fadvise(descriptor, 0, 0, Int32(POSIX_FADV_SEQUENTIAL))
    }

    /// Opens a file.
    ///
    /// - Throws: what the host says.
    public convenience init(_ path: HostPath) throws {
        let descriptor = open(path.string, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw hostError("host.read", "cannot open \(path)") }
        self.init(descriptor: descriptor, size: HostFiles.size(path) ?? 0)
    }

    /// The ranges with data in order; what lies between them reads as zero.
    ///
    /// - Throws: what the host says.
    public func dataRanges() throws -> [Range<Int64>] {
        // Linux's SEEK_DATA and SEEK_HOLE, GNU extensions that the overlay does not import.
        let seekData: Int32 = 3
        let seekHole: Int32 = 4
        var ranges: [Range<Int64>] = []
        var position: Int64 = 0
        while position < size {
            let start = Int64(lseek(descriptor, off_t(position), seekData))
            if start < 0 && errno == ENXIO { break }
            if start < 0 && errno == EINVAL && position == 0 { return [0..<size] }
            guard start >= 0 else { throw hostError("host.read", "cannot look for data in a file") }
            let end = min(size, Int64(lseek(descriptor, off_t(start), seekHole)))
            guard end > start else { break }
            ranges.append(start..<end)
            position = end
        }
        return ranges
    }

    /// Reads into a buffer from an offset until it is full or the file ends; returns how many bytes there were.
    ///
    /// - Throws: what the host says.
    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + Int64(done)))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw hostError("host.read", "cannot read a file") }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Hands out a range in pieces of at most 1 MiB; ends early when the file has shrunk.
    ///
    /// - Throws: what the host or `body` says.
    public func read(_ range: Range<Int64>, _ body: (Int64, UnsafeRawBufferPointer) throws -> Void) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var position = range.lowerBound
        while position < range.upperBound {
            let wanted = min(buffer.count, Int(range.upperBound - position))
            let count = try read(at: position, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]))
            guard count > 0 else { return }
            try body(position, UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            position += Int64(count)
        }
    }

    deinit { Glibc.close(descriptor) }
}
