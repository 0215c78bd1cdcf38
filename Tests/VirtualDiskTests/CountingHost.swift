import Abstractions
import Synchronization

@testable import VirtualDisk

/// Counts the bytes that are written to a file.
final class CountingHost: Sendable {
    private let written = Mutex(0)

    var bytes: Int { written.withLock { $0 } }
    func count(_ bytes: Int) { written.withLock { $0 += bytes } }
}

final class CountingFile: ImageFile {
    private let base: any ImageFile
    private let host: CountingHost

    init(_ base: any ImageFile, _ host: CountingHost) {
        self.base = base
        self.host = host
    }

    var path: HostPath { base.path }
    func length() throws -> Int64 { try base.length() }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(at: offset, into: buffer)
    }
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        host.count(buffer.count)
        try base.write(at: offset, from: buffer)
    }
    func reserve(at offset: Int64, count: Int64) throws { try base.reserve(at: offset, count: count) }
    func truncate(to length: Int64) throws { try base.truncate(to: length) }
    func sync() throws { try base.sync() }
}
