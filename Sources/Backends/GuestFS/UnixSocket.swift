import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Sockets that have a path. Blocks.
enum UnixSocket {
    /// Listens on a new socket that only this user can reach; the descriptor is the caller's.
    ///
    /// - Throws: `invalidArgument` when the path is too long for a socket, what the host says.
    static func listen(on path: HostPath) throws -> Int32 {
        try make(path, "listen on") { descriptor, address in
            bind(descriptor, address, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
                && chmod(path.string, 0o600) == 0 && Glibc.listen(descriptor, 4) == 0
        }
    }

    /// Connects; a read or write that waits longer than `patience` fails. The descriptor is the caller's.
    ///
    /// - Throws: `invalidArgument` when the path is too long for a socket, what the host says.
    static func connect(to path: HostPath, patience: Duration) throws -> Int32 {
        try make(path, "connect to") { descriptor, address in
            var limit = timeval(tv_sec: Int(patience.components.seconds), tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
            setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
            return Glibc.connect(descriptor, address, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
        }
    }

    private static func make(
        _ path: HostPath, _ what: String, _ use: (Int32, UnsafePointer<sockaddr>) -> Bool
    ) throws -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let text = Array(path.string.utf8)
        guard text.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw BackendError(.invalidArgument, "socket", "\(path) is too long for a socket; TMPDIR can be shorter")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: text) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw hostError("socket", "cannot make a socket") }
        let isDone = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { use(descriptor, $0) }
        }
        guard isDone else {
            let failure = hostError("socket", "cannot \(what) \(path)")
            close(descriptor)
            throw failure
        }
        return descriptor
    }
}
