import Abstractions
import BackendSupport
import CHost
import Host
import Synchronization
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Serves a staged view over NBD on a private unix socket, for the appliance's QEMU: each volume is an export with its name.
///
/// Threads of its own: the thread that calls libguestfs waits for the appliance, which waits for us. In a read-only session a write
/// is refused, so that nothing that the appliance does can be staged.
final class NBDServer: Sendable {
    /// The socket's path.
    let path: HostPath
    /// A sign for every request.
    let activity = ActivityMeter()
    private let view: StagedView
    private let listener: Int32
    private let connections = Mutex<(isClosed: Bool, open: Set<Int32>)>((false, []))

    /// Listens on a new socket.
    ///
    /// - Throws: `invalidArgument` when the path is too long for a socket, what the host says.
    init(_ view: StagedView, on path: HostPath) throws {
        self.view = view
        self.path = path
        listener = try UnixSocket.listen(on: path)
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
                NBDConnection(descriptor, view, activity).serve()
                _ = connections.withLock { $0.open.remove(descriptor) }
                close(descriptor)
            }
        }
    }
}
