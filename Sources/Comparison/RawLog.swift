import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// `raw.jsonl`: everything that was measured, a line a sample, each durable before the next begins.
///
/// A process that is killed in the middle of a line leaves a line without an end; going on drops it, and that sample is measured
/// again. So no sample is lost or counted twice.
public final class RawLog {
    /// What the file holds.
    public private(set) var lines: [RawLine]
    private let path: HostPath
    private let descriptor: Int32
    private let lock: FileLock

    static let name = "raw.jsonl"

    /// Begins, or goes on with what is there.
    ///
    /// - Throws: `inUse` when another process measures into this folder, `corrupt` for a line that cannot be understood, what the
    ///   host says.
    public init(in folder: HostPath) throws {
        path = folder.appending(Self.name)
        if !HostFiles.exists(path) { try HostFiles.write([], to: path) }
        lock = try FileLock(path)
        let bytes = try HostFiles.read(path, limit: 1 << 30)
        let whole = bytes.lastIndex(of: 0x0a).map { $0 + 1 } ?? 0
        lines = try Self.parse(bytes[..<whole], path)
        descriptor = open(path.string, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw hostError("compare", "cannot write \(path)") }
        guard ftruncate(descriptor, off_t(whole)) == 0 else { throw hostError("compare", "cannot write \(path)") }
    }

    deinit { close(descriptor) }

    /// Adds a line.
    ///
    /// - Throws: what the host says.
    public func add(_ line: RawLine) throws {
        try HostFiles.writeAll(descriptor, try Self.text(line), path)
        guard fdatasync(descriptor) == 0 else { throw hostError("compare", "cannot sync \(path)") }
        lines.append(line)
    }

    /// All lines of a comparison's folder, for those who only read.
    ///
    /// - Throws: `notFound` for another folder, `corrupt`.
    public static func read(in folder: HostPath) throws -> [RawLine] {
        let path = folder.appending(name)
        guard HostFiles.exists(path) else {
            throw BackendError(
                .notFound, "compare", "\(folder) holds no comparison: it has no \(name)", blame: .caller)
        }
        let bytes = try HostFiles.read(path, limit: 1 << 30)
        return try parse(bytes[..<(bytes.lastIndex(of: 0x0a).map { $0 + 1 } ?? 0)], path)
    }

    private static func parse(_ bytes: ArraySlice<UInt8>, _ path: HostPath) throws -> [RawLine] {
        try bytes.split(separator: 0x0a).enumerated().map { number, line in
            do {
                return try JSONDecoder().decode(RawLine.self, from: Data(line))
            } catch {
                throw BackendError(
                    .corrupt, "compare", "\(path), line \(number + 1) cannot be understood: \(error)", blame: .caller)
            }
        }
    }

    private static func text(_ line: RawLine) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(line)) + [0x0a]
    }
}
