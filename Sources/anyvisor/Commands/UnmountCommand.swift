import Abstractions
import ArgumentParser
import Host

/// `anyvisor unmount DIR`.
struct UnmountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unmount", abstract: "Ends what `anyvisor mount` began: commits, unmounts, lets the image go.",
        discussion: """
            Example: anyvisor unmount mnt
            A folder that is in use stays mounted, and the error says by whom. The mount of a server that was killed goes too.
            """)
    @Argument(help: "The folder that shows the image.") var folder: String
    @Flag(help: "Take the folder away at once, and let go of the image when its last user is gone.") var lazy = false
    @Flag(help: "Print JSON.") var json = false

    private struct Answer: Encodable {
        var folder: HostPath
        /// `unmounted`, or `cleared` for what a killed server left.
        var state: String
    }

    func run() async throws {
        let point = MountTable.normalized(HostPath(folder))
        let lazy = lazy
        let state = try await blocking {
            if let mounted = MountedImage.all(on: point).first(where: \.isAlive) {
                try mounted.unmount(lazily: lazy)
                return "unmounted"
            }
            guard try MountedImage.clearDead(on: point) else {
                throw BackendError(
                    .notFound, "unmount", "no image is mounted on \(point) by this user's `anyvisor mount`",
                    blame: .caller)
            }
            return "cleared"
        }
        if json { return try Terminal.json(Answer(folder: point, state: state)) }
        if state == "cleared" { Terminal.talk("anyvisor: the server of \(point) was killed; its mount is cleared") }
    }
}
