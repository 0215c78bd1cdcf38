import Abstractions
import CFuse3
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A FUSE file system that shows a disk as a folder with `EntireDisk`, `Partition1` …
///
/// It runs in a process of its own, since one that serves a mount must not use it: a wait for itself never ends. One thread
/// answers the kernel and whoever started the server in turn.
final class FuseServer {
    let disk: ServedDisk
    let folder: String
    /// What the table of mounts shows as the source.
    private let source: String
    /// Whether the kernel may keep what it has read: only while nothing writes, since each file has a cache of its own.
    let isCached: Bool
    /// When the disk was opened; what the files show as their times.
    let started = time(nil)
    private(set) var session: OpaquePointer?
    /// Holds what is read for one answer; a request asks for at most 1 MiB.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)

    init(_ disk: ServedDisk, folder: String, source: String, isCached: Bool = false) {
        self.disk = disk
        self.folder = folder
        self.source = source
        self.isCached = isCached
    }

    deinit { buffer.deallocate() }

    /// Mounts the folder; nothing is answered before `loop`.
    ///
    /// - Throws: `unavailable`.
    func mount() throws {
        var arguments = fuse_args(argc: 0, argv: nil, allocated: 0)
        defer { fuse_opt_free_args(&arguments) }
        let access = disk.isWritable ? "rw" : "ro"
        let options = "fsname=\(FuseServer.escaped(source)),subtype=anyvisor,nodev,nosuid,noexec,\(access)"
        for argument in ["anyvisor-vdfuse", "-o", options] { fuse_opt_add_arg(&arguments, argument) }
        var operations = FuseServer.operations
        session = fuse_session_new(
            &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(self).toOpaque())
        guard let session else { throw BackendError(.internal, "vdfuse.server", "libfuse takes no session") }
        guard fuse_session_mount(session, folder) == 0 else {
            fuse_session_destroy(session)
            self.session = nil
            throw BackendError(
                .unavailable, "vdfuse.server",
                "a FUSE file system cannot be mounted on \(folder); it takes /dev/fuse, and for ordinary users fusermount3 "
                    + "and a folder of their own", blame: .host)
        }
    }

    /// Takes the mount away, when it is still there, and drops what is not committed.
    func unmount() {
        disk.close()
        guard let session else { return }
        fuse_session_unmount(session)
        fuse_session_destroy(session)
        self.session = nil
    }

    /// Answers the kernel until the mount is gone, or until somebody else who is heard says so.
    func loop(hearing others: [Listener]) {
        guard let session else { return }
        var request = fuse_buf()
        defer { free(request.mem) }
        let descriptors = [fuse_session_fd(session)] + others.map(\.descriptor)
        var watched = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while fuse_session_exited(session) == 0 {
            guard poll(&watched, nfds_t(watched.count), patience) >= 0 || errno == EINTR else { return }
            if watched[0].revents != 0 {
                let count = fuse_session_receive_buf(session, &request)
                if count > 0 {
                    fuse_session_process_buf(session, &request)
                } else if count != -EINTR && count != -EAGAIN {
                    return
                }
            }
            for (other, watch) in zip(others, watched.dropFirst()) where watch.revents != 0 {
                guard other.hear() else { return }
            }
            // What fails now is told to whoever writes or syncs next.
            if let deadline = disk.syncDeadline, ContinuousClock.now >= deadline { try? disk.sync() }
        }
    }

    /// Somebody besides the kernel.
    struct Listener {
        /// Is readable when there is something to hear.
        var descriptor: Int32
        /// Whether the server goes on.
        var hear: () -> Bool
    }

    /// Milliseconds until the disk wants a sync; -1 for ever.
    private var patience: Int32 {
        guard let deadline = disk.syncDeadline else { return -1 }
        return Int32(clamping: max(0, Int64((deadline - .now).inSeconds * 1000) + 1))
    }

    /// libfuse takes a comma for the next option (fuse_opt_add_opt_escaped).
    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { $0 += $1 == "," || $1 == "\\" ? "\\\($1)" : String($1) }
    }
}
