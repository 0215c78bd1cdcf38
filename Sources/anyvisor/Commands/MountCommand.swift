import Abstractions
import AnyvisorKit
import ArgumentParser
import Dispatch
import Host
import PluginKit
import Synchronization

/// `anyvisor mount IMAGE DIR`.
struct MountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Shows a disk image as plain files: EntireDisk, Partition1 …",
        discussion: """
            Example: anyvisor mount machine.vdi mnt
            Example: anyvisor mount machine.vdi mnt --read-write

            Any format and snapshot layer, without root. Logical partitions count from 5, those of a GPT have their entry's
            number; sizes are exact. Read-only unless asked. With --read-write, writes go through to the image when a client
            syncs or closes its file, at the latest after 5 s: at most 32 MiB between two syncs get there together or not at
            all, and nothing takes them back. `anyvisor unmount DIR` ends it.
            """)
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "An empty folder.") var folder: String
    @Flag(help: "Let writes through to the image; there is no undo.") var readWrite = false
    @OptionGroup var source: ImageOptions
    @Flag(help: "Serve until the folder is unmounted or this command is interrupted.") var foreground = false
    @Flag(help: "Print JSON.") var json = false

    private struct Answer: Encodable {
        var folder: HostPath
        var image: HostPath
        var format: ImageFormat
        var mode: AccessMode
        var process: Int32
        var files: [MountServerProcess.File]
        var warning: String?
    }

    func run() async throws {
        let image = try source.image(image)
        let point = MountTable.normalized(HostPath(folder))
        if try await blocking({ try MountedImage.clearDead(on: point) }) {
            Terminal.talk("anyvisor: \(point) was still mounted by a server that was killed; cleared")
        }
        try checkFolder(point)
        let (mode, foreground): (AccessMode, Bool) = (readWrite ? .readWrite : .readOnly, foreground)
        guard let manifest = try Catalogue.manifests(named: "vdfuse").first else { return }
        // Before there is a server: an interrupt must find it, whenever it comes.
        let interruption = Interruption()
        let signals = foreground ? CommandScope.onInterrupt { interruption.come() } : []
        let server = try await blocking {
            try MountServerProcess(
                program: try manifest.programFile(in: ResourceFolders.programs), image, mode, on: point,
                foreground: foreground)
        }
        interruption.end(server)
        if json {
            try Terminal.json(
                Answer(
                    folder: point, image: image.path, format: image.format, mode: mode, process: server.pid,
                    files: server.files, warning: server.warning))
        } else {
            show(server.files)
        }
        tell(server, image, point)
        guard foreground else { return }
        let isGood = await onOwnThread { server.wait() }
        signals.forEach { $0.cancel() }
        if !isGood { throw ExitCode(ExitStatus.backend) }
    }

    /// Ends the server when it is asked for, also before there is one.
    private final class Interruption: Sendable {
        private let state = Mutex<(hasCome: Bool, server: MountServerProcess?)>((false, nil))

        func come() {
            state.withLock { state in
                state.hasCome = true
                state.server?.end()
            }
        }

        func end(_ server: MountServerProcess) {
            state.withLock { state in
                state.server = server
                if state.hasCome { server.end() }
            }
        }
    }

    private func checkFolder(_ point: HostPath) throws {
        if MountedImage.isMounted(point) {
            throw BackendError(
                .alreadyExists, "mount", "\(point) shows an image already; `anyvisor unmount \(point)` ends that",
                blame: .caller)
        }
        guard HostFiles.isDirectory(point) else {
            throw BackendError(.notFound, "mount", "\(point) is no folder; make it first", blame: .caller)
        }
        guard HostFiles.names(in: point).isEmpty else {
            throw BackendError(
                .invalidArgument, "mount", "\(point) is not empty, and a mount would hide what is in it", blame: .caller
            )
        }
    }

    private func show(_ files: [MountServerProcess.File]) {
        let rows = files.map { file in
            [file.name, "\(file.size)", file.volume?.fileSystem ?? "-", file.volume?.label ?? "-"]
        }
        Terminal.table([["file", "size", "type", "label"]] + rows)
    }

    private func tell(_ server: MountServerProcess, _ image: DiskImage, _ point: HostPath) {
        if let warning = server.warning { Terminal.talk("anyvisor: warning: \(warning)") }
        let how =
            readWrite
            ? "mounted on \(point) for writing: every write goes through to the image, there is no undo"
            : "mounted on \(point), read-only"
        let end = foreground ? "an interrupt or `anyvisor unmount \(point)`" : "`anyvisor unmount \(point)`"
        Terminal.talk("anyvisor: \(image.path) is \(how); \(end) ends it")
    }
}

/// Runs blocking work away from the cooperative pool.
func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await onOwnThread { Result { try body() } }.get()
}
