import Abstractions
import BackendSupport
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Journals the folder that libguestfs makes in `/tmp` while it starts the appliance, and removes it once it is connected.
///
/// It is the one thing of ours that lies outside the run's folders, and nobody tells its name beforehand.
final class SocketFolderWatch: Sendable {
    private let socket: HostPath
    private let isOver = Atomic(false)

    init(_ socket: HostPath) {
        self.socket = socket
        startThread { [self] in
            while !isOver.load(ordering: .acquiring) {
                if let folder = Appliance.socketFolder(using: socket) {
                    try? RunScope.current?.journal.append(.path(folder))
                    let list = socket.parent.appending(RunScope.outsideList)
                    try? HostFiles.write(Array("\(folder)\n".utf8), to: list)
                    return
                }
                usleep(20_000)
            }
        }
    }

    /// The start is over; a connected socket needs no name any more.
    func end() {
        isOver.store(true, ordering: .releasing)
        if let folder = Appliance.socketFolder(using: socket) { try? HostFiles.removeTree(folder) }
    }
}
