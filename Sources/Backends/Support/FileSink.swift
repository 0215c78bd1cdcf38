import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The content of one file that a `SafeTreeWriter` makes. What is not written stays a hole.
///
/// Valid only inside the closure that gets it. Bytes behind the announced size are refused, so a file cannot outgrow its quota.
public final class FileSink {
    /// The size that was announced.
    public let size: Int64
    let descriptor: Int32
    private let advance: (Int64) throws -> Void
    private var furthest: Int64 = 0

    init(descriptor: Int32, size: Int64, advance: @escaping (Int64) throws -> Void) {
        self.descriptor = descriptor
        self.size = size
        self.advance = advance
    }

    /// Writes bytes at an offset.
    ///
    /// - Throws: `noSpace`, `CancellationError`, or an error that makes the writer refuse the file, which must be passed on.
    public func write(at offset: Int64, _ bytes: UnsafeRawBufferPointer) throws {
        guard offset >= 0, Int64(bytes.count) <= size, offset <= size - Int64(bytes.count) else {
            throw FileRefusal(reason: "longer than its size of \(ByteCount(size))")
        }
        var done = 0
        while done < bytes.count {
            let piece = min(bytes.count - done, 4 << 20)
            let count = pwrite(descriptor, bytes.baseAddress.map { $0 + done }, piece, off_t(offset + Int64(done)))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw hostError("copyOut", "cannot write to the host") }
            done += count
            try moved(to: offset + Int64(done))
        }
    }

    /// Copies everything that has data from an open file of this host, holes left out.
    ///
    /// - Throws: like `write`, and what the host says about reading.
    public func copy(from file: HostFile) throws {
        for range in try file.dataRanges() {
            try file.read(range) { offset, bytes in try write(at: offset, bytes) }
        }
    }

    /// Leaves the file out of the copy, with this reason in the report.
    public func refuse(_ reason: String) throws -> Never { throw FileRefusal(reason: reason) }

    private func moved(to end: Int64) throws {
        let step = max(0, end - furthest)
        furthest = max(furthest, end)
        try advance(step)
    }

    /// Bytes that progress has not heard of yet: the holes.
    var rest: Int64 { max(0, size - furthest) }
}

/// A file that is left out while the copy goes on.
struct FileRefusal: Error {
    var reason: String
}
