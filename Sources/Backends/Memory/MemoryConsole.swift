import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The serial console of a machine: the host file that its spec names, or a file without a name.
final class MemoryConsole: Sendable {
    let descriptor: Int32

    /// - Throws: what the host says.
    init(_ log: HostPath?) throws {
        guard let log else {
            let folder = RunScope.current?.work ?? HostPath(HostEnvironment.variable("TMPDIR") ?? "/tmp")
            // __O_TMPFILE | O_DIRECTORY: a file that nobody else can see, gone with its descriptor.
            descriptor = open(folder.string, 0o20_000_000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw hostError("machine.create", "cannot make a console file in \(folder)") }
            return
        }
        descriptor = open(log.string, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw hostError("machine.create", "cannot open console file \(log)") }
    }

    /// Adds a line of our own.
    func print(_ line: String) { try? HostFiles.writeAll(descriptor, Array((line + "\n").utf8), "console") }

    /// - Throws: `invalidArgument` for a negative offset or count.
    func read(offset: Int64, count: Int) throws -> [UInt8] {
        guard offset >= 0, count >= 0 else {
            throw BackendError(
                .invalidArgument, "console.read", "offset \(offset) and count \(count) must not be negative")
        }
        var bytes = [UInt8](repeating: 0, count: min(count, 512 << 10))
        let length = pread(descriptor, &bytes, bytes.count, off_t(offset))
        guard length >= 0 else { throw hostError("console.read", "cannot read the console") }
        return Array(bytes[..<length])
    }

    deinit { close(descriptor) }
}
