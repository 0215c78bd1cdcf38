import Abstractions
import CHost
import Host
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// The FUSE server of a plugin's session: shows a staged view, and ends with the plugin's side of the socket or with the plugin;
/// nothing is committed then.
///
/// ```
///   anyvisor-vdfuse --serve-fuse PLUGIN-PID FOLDER readOnly|readWrite IMAGE      IMAGE in JSON; standard input: the socket
/// ```
enum StagedServer {
    static let flag = "--serve-fuse"

    /// Serves until the plugin is gone.
    static func run(_ arguments: [String]) -> Never {
        let socket = LineSocket(0)
        // The plugin's death ends this process even when it is stopped and cannot see the end of its input.
        av_prctl(1, UInt(SIGKILL))  // PR_SET_PDEATHSIG
        guard arguments.count == 4, let plugin = Int32(arguments[0]), plugin == getppid(),
            let mode = AccessMode(rawValue: arguments[2])
        else { _exit(2) }
        do {
            let image = try ServerMessage.parse(Array(arguments[3].utf8), as: DiskImage.self)
            let disk = try ServedDisk(StagedView(image, mode))
            let server = FuseServer(disk, folder: arguments[1], source: "anyvisor")
            try server.mount()
            _ = socket.send(ServerMessage.line(ServerMessage.Answer(files: disk.files)))
            let plugin = FuseServer.Listener(descriptor: socket.descriptor) {
                guard let line = socket.line() else { return false }
                return socket.send(ServerMessage.line(answer(line, disk)))
            }
            server.loop(hearing: [plugin])
            server.unmount()
            _exit(0)
        } catch {
            _ = socket.send(
                ServerMessage.line(ServerMessage.Answer(error: BackendError.wrapping(error, "vdfuse.server"))))
            _exit(1)
        }
    }

    private static func answer(_ line: [UInt8], _ disk: ServedDisk) -> ServerMessage.Answer {
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
