import Abstractions
import BackendSupport
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Looks at QEMU while libguestfs starts it: journals the folder that the library makes in `/tmp`, removes it once it is connected,
/// and ends a start that takes too long.
///
/// That folder is the one thing of ours that lies outside the run's folders, and nobody tells its name beforehand.
final class LaunchWatch: Sendable {
    private let socket: HostPath
    private let isOver = Atomic(false)

    init(_ socket: HostPath, _ limit: Duration?) {
        self.socket = socket
        startThread { [self] in
            var isNoted = false
            var seen: ContinuousClock.Instant?
            while !isOver.load(ordering: .acquiring) {
                if !isNoted, let folder = Appliance.socketFolder(using: socket) {
                    note(folder)
                    isNoted = true
                }
                if let limit {
                    if seen == nil, Appliance.isRunning(using: socket) { seen = .now }
                    if let seen, .now - seen > limit { return Appliance.kill(using: socket) }
                } else if isNoted {
                    return
                }
                usleep(20_000)
            }
        }
    }

    private func note(_ folder: HostPath) {
        try? RunScope.current?.journal.append(.path(folder))
        let list = socket.parent.appending(RunScope.outsideList)
        try? HostFiles.write(Array("\(folder)\n".utf8), to: list)
    }

    /// The start is over; a connected socket needs no name any more.
    func end() {
        isOver.store(true, ordering: .releasing)
        if let folder = Appliance.socketFolder(using: socket) { try? HostFiles.removeTree(folder) }
    }
}
