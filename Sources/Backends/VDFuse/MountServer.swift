import Abstractions
import CHost
import Host
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// The FUSE server of `anyvisor mount`: writes go through to the image, and it lives until its folder is unmounted or it is told
/// to end by SIGTERM, SIGINT or SIGHUP; both commit first.
///
/// ```
///   anyvisor-vdfuse --mount FOLDER readOnly|readWrite foreground|background IMAGE      IMAGE in JSON
///                   standard output: one line, {"files":[…]} when all is there, else {"error":…}
///                   standard input:  in the foreground its end is a SIGTERM
/// ```
/// It has a run scope of its own, whose lock it holds while it lives: so `reap` leaves it alone, and clears up once it is killed.
enum MountServer {
    static let flag = "--mount"

    /// Serves until the mount is gone.
    static func run(_ arguments: [String]) -> Never {
        signal(SIGPIPE, SIG_IGN)
        let endings = av_ending_signals()
        // What a library prints must not reach the one line that the command waits for.
        let answer = dup(1)
        dup2(2, 1)
        guard arguments.count == 4, let mode = AccessMode(rawValue: arguments[1]), endings >= 0, answer >= 0 else {
            _exit(2)
        }
        func tell(_ message: ServerMessage.Answer) -> Bool {
            (try? HostFiles.writeAll(answer, ServerMessage.line(message), "standard output")) != nil
        }
        do {
            let image = try ServerMessage.parse(Array(arguments[3].utf8), as: DiskImage.self)
            let isTethered = arguments[2] == "foreground"
            let failure = try serve(image, mode, HostPath(arguments[0]), endings, isTethered: isTethered) { message in
                defer { close(answer) }
                return tell(message)
            }
            if let failure { try? HostFiles.writeAll(2, Array("anyvisor-vdfuse: \(failure)\n".utf8), "standard error") }
            _exit(failure == nil ? 0 : 1)
        } catch {
            _ = tell(ServerMessage.Answer(error: BackendError.wrapping(error, "mount")))
            _exit(1)
        }
    }

    /// - Parameter tell: says that all is there; false when nobody hears it, and then nothing is left mounted.
    /// - Returns: the first write that did not get into the image.
    /// - Throws: why nothing was mounted.
    private static func serve(
        _ image: DiskImage, _ mode: AccessMode, _ folder: HostPath, _ endings: Int32, isTethered: Bool,
        tell: (ServerMessage.Answer) -> Bool
    ) throws -> BackendError? {
        try checkHost()
        let (scope, lock) = try RunScope.make()
        for (name, value) in scope.environment { setenv(name, value, 1) }
        let result = Result {
            try HostFiles.write(Array("\(getpid())\n".utf8), to: scope.mountServerFile)
            let view = try ThroughView(image, mode)
            let disk = try ServedDisk(view)
            let server = FuseServer(
                disk, folder: folder.string, source: image.path.string, isCached: mode == .readOnly)
            try scope.journal.append(.mount(folder))
            try server.mount()
            let isHeard = tell(ServerMessage.Answer(files: disk.files, warning: view.warning, process: getpid()))
            if !isTethered { leaveTerminal() }
            if isHeard { server.loop(hearing: listeners(endings, isTethered)) }
            try? disk.sync()
            let failure = disk.failure
            server.unmount()
            return failure
        }
        // Who waits for the lock finds nothing left.
        try? scope.remove()
        withExtendedLifetime(lock) {}
        return try result.get()
    }

    /// Whoever waits for the end of the command's output must not wait for the mount's.
    private static func leaveTerminal() {
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        for descriptor in 0...2 as ClosedRange<Int32> { dup2(null, descriptor) }
    }

    private static func listeners(_ endings: Int32, _ isTethered: Bool) -> [FuseServer.Listener] {
        let signals = FuseServer.Listener(descriptor: endings) { false }
        return isTethered ? [signals, FuseServer.Listener(descriptor: 0) { false }] : [signals]
    }

    private static func checkHost() throws {
        if let problem = Mounter.fuseProblem { throw problem }
        if geteuid() != 0, HostEnvironment.program("fusermount3") == nil {
            throw BackendError(
                .unavailable, "mount",
                "fusermount3 is not installed, and only root mounts without it; `apt install fuse3` as root cures it",
                blame: .host)
        }
    }
}
