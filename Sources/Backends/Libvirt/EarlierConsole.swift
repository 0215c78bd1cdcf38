import Abstractions
import BackendSupport
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What the earlier starts of a machine printed, where the hypervisor empties the console's file at each start: a file beside it.
struct EarlierConsole: Sendable {
    /// The console's file.
    let console: HostPath
    private var file: HostPath { HostPath(console.string + ".earlier") }

    /// Puts what the console's file holds behind what is kept; to be called before each start.
    ///
    /// - Throws: what the host says.
    func keep() throws {
        guard let size = HostFiles.size(console), size > 0 else { return }
        let descriptor = open(file.string, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw hostError("machine.start", "cannot write console file \(file)") }
        defer { close(descriptor) }
        try HostFiles.writeAll(descriptor, try HostFiles.read(console), file)
        _ = try ConsoleFile.begin(console)
    }

    /// Up to `count` bytes of all that was printed; a read that begins in what is kept ends there at the latest. Blocks its thread.
    ///
    /// - Throws: what the host says.
    func read(_ offset: Int64, _ count: Int) throws -> [UInt8] {
        let kept = Int64(HostFiles.size(file) ?? 0)
        if offset < kept { return try ConsoleFile.read(file, offset, count) }
        return try ConsoleFile.read(console, offset - kept, count)
    }

    /// Removes what is kept.
    func remove() { try? HostFiles.removeTree(file) }
}
