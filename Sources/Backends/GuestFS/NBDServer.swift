import Abstractions
import BackendSupport
import CHost
import Host
import Synchronization
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Serves a staged view over NBD on a private unix socket, for the appliance's QEMU.
///
/// Threads of its own: the thread that calls libguestfs waits for the appliance, which waits for us. In a read-only session a write
/// is refused, so that nothing that the appliance does can be staged.
final class NBDServer: Sendable {
    /// The socket's path.
    let path: HostPath
    private let view: StagedView
    private let listener: Int32
    private let connections = Mutex<(isClosed: Bool, open: Set<Int32>)>((false, []))

    /// Listens on a new socket.
    ///
    /// - Throws: `invalidArgument` when the path is too long for a socket, what the host says.
    init(_ view: StagedView, on path: HostPath) throws {
        self.view = view
        self.path = path
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard listener >= 0 else { throw hostError("nbd", "cannot make a socket") }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let text = Array(path.string.utf8)
        guard text.count < MemoryLayout.size(ofValue: address.sun_path) else {
            close(listener)
            throw BackendError(.invalidArgument, "nbd", "\(path) is too long for a socket; TMPDIR can be shorter")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: text) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard bound == 0, chmod(path.string, 0o600) == 0, listen(listener, 4) == 0 else {
            let failure = hostError("nbd", "cannot listen on \(path)")
            close(listener)
            throw failure
        }
        startThread { [self] in accept() }
    }

    /// Ends all connections and waits for their threads; no request is answered afterwards.
    func end() {
        let open = connections.withLock { state in
            state.isClosed = true
            return state.open
        }
        shutdown(listener, Int32(SHUT_RDWR))
        for descriptor in open { shutdown(descriptor, Int32(SHUT_RDWR)) }
        unlink(path.string)
        // A request under way has the image in its hands. It takes milliseconds, or the host's disk hangs.
        var rounds = 0
        while connections.withLock({ !$0.open.isEmpty }), rounds < 2000 {
            usleep(1000)
            rounds += 1
        }
    }

    private func accept() {
        defer { close(listener) }
        while true {
            let descriptor = accept4(listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
            if descriptor < 0 && (errno == EINTR || errno == ECONNABORTED) { continue }
            guard descriptor >= 0 else { return }
            let isWanted = connections.withLock { state in
                if !state.isClosed { state.open.insert(descriptor) }
                return !state.isClosed
            }
            guard isWanted else {
                close(descriptor)
                return
            }
            startThread { [self] in
                NBDConnection(descriptor, view).serve()
                _ = connections.withLock { $0.open.remove(descriptor) }
                close(descriptor)
            }
        }
    }
}
