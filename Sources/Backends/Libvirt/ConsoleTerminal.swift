import Abstractions
import BackendSupport
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A console that is a terminal of the host; who runs the guest keeps what nobody has read yet.
struct ConsoleTerminal: Sendable {
    /// The terminal, for example `/dev/pts/3`.
    let terminal: HostPath
    /// Where what comes on it goes.
    let file: HostPath

    /// Begins to copy, on a thread that ends with the terminal. What cannot be opened is a guest that has ended already.
    func follow(ended: @escaping @Sendable () -> Void) {
        let source = open(terminal.string, O_RDONLY | O_NOCTTY | O_CLOEXEC)
        guard source >= 0 else { return ended() }
        let target = open(file.string, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        guard target >= 0 else {
            close(source)
            return ended()
        }
        startThread { [file] in
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(source, &buffer, buffer.count)
                if count < 0 && errno == EINTR { continue }
                // A terminal that was hung up reads as an error.
                guard count > 0, (try? HostFiles.writeAll(target, Array(buffer.prefix(count)), file)) != nil else {
                    break
                }
            }
            close(source)
            close(target)
            ended()
        }
    }
}
