import Abstractions
import CNBD

#if canImport(Glibc)
    import Glibc
#endif

/// A connection to an NBD server, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md. Calls block and may come
/// from any thread; the library lets one at a time through.
final class NBDClient: Sendable {
    /// What is known about bytes without reading them.
    struct Run: Sendable, Hashable {
        var length: Int64
        /// They are zero.
        var isZero: Bool
        /// The image itself holds them, not its backing file, and not nobody.
        var isOwn: Bool
    }

    /// An answer of the library with its `errno`.
    struct Failure: Error {
        var number: Int32
        var text: String
    }

    /// Bytes of the disk.
    let size: Int64
    private let library: NBDLibrary
    // Only the library looks into it, under its own lock.
    private nonisolated(unsafe) let handle: NBDLibrary.Handle
    /// QEMU takes at most 32 MiB in one request.
    private static let most = 16 << 20
    private static let contexts = (allocation: "base:allocation", depth: "qemu:allocation-depth")

    /// Takes the socket over and shakes hands.
    ///
    /// - Throws: `Failure`.
    init(_ library: NBDLibrary, socket: Int32) throws {
        self.library = library
        guard let handle = library.create() else {
            Glibc.close(socket)
            throw NBDClient.failure(library)
        }
        self.handle = handle
        // The library closes the socket from here on, whether it can be used or not.
        guard library.addContext(handle, NBDClient.contexts.allocation) == 0,
            library.addContext(handle, NBDClient.contexts.depth) == 0, library.connectSocket(handle, socket) == 0
        else {
            let failure = NBDClient.failure(library)
            library.close(handle)
            throw failure
        }
        let bytes = library.size(handle)
        if bytes < 0 {
            let failure = NBDClient.failure(library)
            library.close(handle)
            throw failure
        }
        size = bytes
    }

    deinit { library.close(handle) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try forEachPart(buffer.count) { done, count in
            guard let base = buffer.baseAddress else { return 0 }
            return library.read(handle, base + done, count, UInt64(offset) + UInt64(done), 0)
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try forEachPart(buffer.count) { done, count in
            guard let base = buffer.baseAddress else { return 0 }
            return library.write(handle, base + done, count, UInt64(offset) + UInt64(done), 0)
        }
    }

    func flush() throws {
        if library.flush(handle, 0) != 0 { throw NBDClient.failure(library) }
    }

    /// Says good-bye, upon which a server for one client ends.
    func shutdown() { _ = library.shutdown(handle, 0) }

    /// The bytes from `offset` on that are alike, at most `count`.
    func status(at offset: Int64, count: Int64) throws -> Run {
        final class Answer { var entries: [String: (length: Int64, flags: UInt32)] = [:] }
        let answer = Answer()
        let callback = av_nbd_extent_callback(
            callback: { user, context, _, entries, count, _ in
                guard let user, let context, let entries, count >= 2 else { return 0 }
                let answer = Unmanaged<Answer>.fromOpaque(user).takeUnretainedValue()
                answer.entries[String(cString: context)] = (Int64(entries[0]), entries[1])
                return 0
            }, user: Unmanaged.passUnretained(answer).toOpaque(), release: nil)
        let (onlyFirst, aligned) = (UInt32(1 << 3), Int64(1 << 30))
        let result = withExtendedLifetime(answer) {
            library.status(handle, UInt64(min(count, aligned)), UInt64(offset), callback, onlyFirst)
        }
        guard result == 0 else { throw NBDClient.failure(library) }
        guard let allocation = answer.entries[NBDClient.contexts.allocation],
            let depth = answer.entries[NBDClient.contexts.depth]
        else { throw Failure(number: ENOTSUP, text: "the server does not tell what is allocated") }
        // NBD_STATE_ZERO is bit 1 of base:allocation; a depth of 1 is the image itself.
        return Run(
            length: min(allocation.length, depth.length, count), isZero: allocation.flags & 2 != 0,
            isOwn: depth.flags == 1)
    }

    private func forEachPart(_ total: Int, _ body: (_ done: Int, _ count: Int) -> Int32) throws {
        var done = 0
        while done < total {
            let count = min(NBDClient.most, total - done)
            guard body(done, count) == 0 else { throw NBDClient.failure(library) }
            done += count
        }
    }

    /// What the last call on this thread says.
    private static func failure(_ library: NBDLibrary) -> Failure {
        let number = library.errorNumber()
        let text = library.errorText().map { String(cString: $0) } ?? "no reason given"
        return Failure(number: number == 0 ? EIO : number, text: text)
    }
}
