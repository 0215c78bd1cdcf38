import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Reads a file of the host from its start to its end, 1 MiB at a time.
final class ByteReader {
    private let descriptor: Int32
    private let path: HostPath

    /// - Throws: what the host says.
    init(_ path: HostPath) throws {
        self.path = path
        descriptor = open(path.string, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw hostError("report.diff", "cannot open \(path)") }
    }

    deinit { close(descriptor) }

    /// The next bytes, whole but for the last; empty at the end.
    ///
    /// - Throws: what the host says.
    func next() throws -> [UInt8] {
        var failure: BackendError?
        let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in
            count = 0
            while count < buffer.count {
                let got = read(descriptor, buffer.baseAddress?.advanced(by: count), buffer.count - count)
                if got < 0 && errno == EINTR { continue }
                if got < 0 { failure = hostError("report.diff", "cannot read \(path)") }
                if got <= 0 { return }
                count += got
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
