import Abstractions
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Lines over a pair of descriptors; writes of several threads do not mix.
final class LineChannel: Sendable {
    /// The operation of the error for a line without its end.
    static let halfLine = "wire.halfLine"

    private let input: Int32
    private let output: Int32
    private let writing = Mutex(())

    init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
    }

    /// Writes one line.
    ///
    /// - Throws: `crashed` when the other side is gone.
    func write(_ line: [UInt8]) throws {
        try writing.withLock { _ in
            var done = 0
            while done < line.count {
                let count = line.withUnsafeBytes {
                    Glibc.write(output, $0.baseAddress.map { $0 + done }, line.count - done)
                }
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { throw BackendError(.crashed, "wire", "the other side of the wire is gone") }
                done += count
            }
        }
    }

    /// Blocks and calls `line` for each line until the end; belongs on a thread of its own.
    ///
    /// - Returns: nil at a clean end, else what was wrong: a line that is too long, or one without its end.
    func readLines(_ line: ([UInt8]) -> Void) -> BackendError? {
        var pending: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(input, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                guard !pending.isEmpty else { return nil }
                return violation("half a line at the end", pending, LineChannel.halfLine)
            }
            var start = 0
            while let end = chunk[start..<count].firstIndex(of: 0x0a) {
                pending.append(contentsOf: chunk[start..<end])
                guard pending.count < Wire.lineLimit else { return violation("a line longer than 1 MiB", pending) }
                line(pending)
                pending.removeAll(keepingCapacity: true)
                start = end + 1
            }
            pending.append(contentsOf: chunk[start..<count])
            guard pending.count < Wire.lineLimit else { return violation("a line longer than 1 MiB", pending) }
        }
    }

    private func violation(_ what: String, _ bytes: [UInt8], _ operation: String = "wire") -> BackendError {
        BackendError(
            .protocolViolation, operation, "\(what): \(String(decoding: bytes.prefix(200), as: UTF8.self))")
    }
}
