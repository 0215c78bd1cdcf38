import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A host file that a hypervisor writes a serial console to.
public enum ConsoleFile {
    /// Empties the file; true when it is new.
    ///
    /// - Throws: what the host says.
    public static func begin(_ path: HostPath) throws -> Bool {
        let isNew = !HostFiles.exists(path)
        let descriptor = open(path.string, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw hostError("machine.create", "cannot write console file \(path)") }
        close(descriptor)
        return isNew
    }

    /// Up to `count` bytes from an offset; empty behind the end. Blocks its thread.
    ///
    /// - Throws: what the host says.
    public static func read(_ file: HostPath, _ offset: Int64, _ count: Int) throws -> [UInt8] {
        let descriptor = open(file.string, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw hostError("console.read", "cannot open console file \(file)") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &bytes, count, off_t(offset))
        guard got >= 0 else { throw hostError("console.read", "cannot read console file \(file)") }
        return Array(bytes.prefix(got))
    }
}
