import Abstractions
import Host

/// Reads the tables of a disk image, which may be damaged.
package final class TableReader {
    private let file: HostFile
    private let path: HostPath

    /// Opens the image.
    ///
    /// - Throws: what the host says.
    package init(_ path: HostPath) throws {
        self.path = path
        file = try HostFile(path)
    }

    /// The error for an image that cannot be.
    package func corrupt(_ what: String) -> BackendError {
        BackendError(.corrupt, "snapshots", "disk \(path): \(what)", blame: .disk)
    }

    /// Bytes of it.
    ///
    /// - Throws: `corrupt` when it ends before, what the host says.
    package func read(at offset: Int64, count: Int) throws -> [UInt8] {
        guard offset >= 0, offset <= file.size, Int64(count) <= file.size - offset else {
            throw corrupt("it ends within a table, at \(offset)")
        }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = try bytes.withUnsafeMutableBytes { try file.read(at: offset, into: $0) }
        guard got == count else { throw corrupt("it ends within a table, at \(offset)") }
        return bytes
    }
}

extension [UInt8] {
    /// The number in bytes from an offset on, most significant first.
    package func bigEndian(_ offset: Int, _ size: Int) -> Int64 {
        Int64(bitPattern: self[offset..<offset + size].reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    }

    /// The number in bytes from an offset on, least significant first.
    package func littleEndian(_ offset: Int, _ size: Int) -> Int64 {
        Int64(bitPattern: self[offset..<offset + size].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    }
}
