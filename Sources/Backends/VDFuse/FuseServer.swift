import Abstractions
import CFuse3
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The process that shows an image as a folder with `EntireDisk`, `Partition1` ….
///
/// A process of its own, since one that serves a mount must not use it: a wait for itself never ends. One thread answers the
/// kernel and the plugin in turn. It ends with the plugin's side of the socket, or with the plugin: nothing is committed then.
///
/// ```
///   anyvisor-vdfuse --serve-fuse PLUGIN-PID PATH FORMAT readOnly|readWrite FOLDER [PARENT-FOLDER …] [snapshot=NAME]   standard input: the socket
/// ```
final class FuseServer {
    let disk: ServedDisk
    let folder: String
    let socket: LineSocket
    private(set) var session: OpaquePointer?
    /// Holds what is read for one answer; a request asks for at most 1 MiB.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)

    static let flag = "--serve-fuse"
    private static let snapshotPrefix = "snapshot="

    /// What follows the folder on the command line.
    static func options(of image: DiskImage) -> [String] {
        (image.parentFolders ?? []).map(\.string) + (image.snapshot.map { [snapshotPrefix + $0] } ?? [])
    }

    init(_ image: DiskImage, _ mode: AccessMode, folder: String, socket: LineSocket) throws {
        self.folder = folder
        self.socket = socket
        disk = try ServedDisk(image, mode)
    }

    /// Serves until the plugin is gone.
    static func run(_ arguments: [String]) -> Never {
        let socket = LineSocket(0)
        // The plugin's death ends this process even when it is stopped and cannot see the end of its input.
        av_prctl(1, UInt(SIGKILL))  // PR_SET_PDEATHSIG
        guard arguments.count >= 5, let plugin = Int32(arguments[0]), plugin == getppid(),
            let mode = AccessMode(rawValue: arguments[3])
        else { _exit(2) }
        do {
            let image = DiskImage(
                path: HostPath(arguments[1]), format: ImageFormat(arguments[2]),
                parentFolders: arguments.dropFirst(5).filter { $0.hasPrefix("/") }.map { HostPath($0) },
                snapshot: arguments.dropFirst(5).first { $0.hasPrefix(snapshotPrefix) }.map {
                    String($0.dropFirst(snapshotPrefix.count))
                })
            let server = try FuseServer(image, mode, folder: arguments[4], socket: socket)
            try server.mount()
            _ = socket.send(ServerMessage.line(ServerMessage.Answer(files: server.disk.files)))
            server.loop()
            server.unmount()
            _exit(0)
        } catch {
            _ = socket.send(
                ServerMessage.line(ServerMessage.Answer(error: BackendError.wrapping(error, "vdfuse.server"))))
            _exit(1)
        }
    }

    private func mount() throws {
        var arguments = fuse_args(argc: 0, argv: nil, allocated: 0)
        defer { fuse_opt_free_args(&arguments) }
        let access = disk.isWritable ? "rw" : "ro"
        for argument in ["anyvisor-vdfuse", "-o", "fsname=anyvisor,subtype=anyvisor,nodev,nosuid,noexec,\(access)"] {
            fuse_opt_add_arg(&arguments, argument)
        }
        var operations = FuseServer.operations
        session = fuse_session_new(
            &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(self).toOpaque())
        guard let session else { throw BackendError(.internal, "vdfuse.server", "libfuse takes no session") }
        guard fuse_session_mount(session, folder) == 0 else {
            fuse_session_destroy(session)
            self.session = nil
            throw BackendError(
                .unavailable, "vdfuse.server",
                "a FUSE file system cannot be mounted on \(folder); it takes /dev/fuse, and for ordinary users fusermount3",
                blame: .host)
        }
    }

    private func unmount() {
        disk.close()
        guard let session else { return }
        fuse_session_unmount(session)
        fuse_session_destroy(session)
        self.session = nil
    }

    /// Answers the kernel and the plugin until one of them is gone.
    private func loop() {
        guard let session else { return }
        var request = fuse_buf()
        defer { free(request.mem) }
        var watched = [
            pollfd(fd: fuse_session_fd(session), events: Int16(POLLIN), revents: 0),
            pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        while fuse_session_exited(session) == 0 {
            guard poll(&watched, nfds_t(watched.count), -1) >= 0 || errno == EINTR else { return }
            if watched[0].revents != 0 {
                let count = fuse_session_receive_buf(session, &request)
                if count > 0 {
                    fuse_session_process_buf(session, &request)
                } else if count != -EINTR && count != -EAGAIN {
                    return
                }
            }
            if watched[1].revents != 0 {
                guard let line = socket.line() else { return }
                guard socket.send(ServerMessage.line(answer(line))) else { return }
            }
        }
    }

    private func answer(_ line: [UInt8]) -> ServerMessage.Answer {
        do {
            switch try ServerMessage.parse(line, as: ServerMessage.Request.self).command {
            case .commit: try disk.commit()
            case .status: if let failure = disk.failure { throw failure }
            }
            return ServerMessage.Answer()
        } catch {
            return ServerMessage.Answer(error: BackendError.wrapping(error, "vdfuse.server"))
        }
    }
}
