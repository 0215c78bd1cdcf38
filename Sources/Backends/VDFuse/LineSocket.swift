import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Lines over a stream socket; one thread at a time.
final class LineSocket {
    let descriptor: Int32
    private var pending: [UInt8] = []

    /// Takes over the descriptor.
    init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// Sends bytes; false when the other side is gone. Never raises SIGPIPE.
    func send(_ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.send(descriptor, buffer.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    /// Whether there is something to read, the end of the stream included.
    var hasInput: Bool {
        var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return !pending.isEmpty || poll(&watched, 1, 0) > 0
    }

    /// Waits for the next line; nil at the end of the stream.
    func line() -> [UInt8]? {
        while true {
            if let end = pending.firstIndex(of: 0x0a) {
                defer { pending.removeSubrange(...end) }
                return Array(pending[..<end])
            }
            var chunk = [UInt8](repeating: 0, count: 1 << 14)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return nil }
            pending.append(contentsOf: chunk[..<count])
        }
    }

    deinit { close(descriptor) }
}
