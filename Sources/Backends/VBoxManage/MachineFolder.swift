import Abstractions
import BackendSupport
import Host

/// The folder of a machine that we made; VirtualBox keeps its settings, logs and differencing images there too.
///
/// ```
/// ROOT/NAME/NAME.vbox          VirtualBox's settings; Snapshots/ and Logs/ are its own as well
///           anyvisor.images    made first: says that the folder is ours, and which images the machine has
///           anyvisor.console   where the console goes, for when VirtualBox cannot be asked
///           anyvisor.started   the machine was started once: VirtualBox does not tell
///           anyvisor.settled   its last crash was answered by a stop
///           console.log        the serial console, unless the machine's maker wants it elsewhere
///           console.past       what it printed before its last start: VirtualBox empties the file then
///           headless.log       what VBoxHeadless printed, of a machine that was taken back with its memory
///           disk0.vmdk …       see VirtualBoxFiles
/// ```
struct MachineFolder: Sendable, Hashable {
    /// The folder.
    let path: HostPath

    private var images: HostPath { path.appending("anyvisor.images") }
    private var consoleNote: HostPath { path.appending("anyvisor.console") }
    private var startedMark: HostPath { path.appending("anyvisor.started") }
    private var settledMark: HostPath { path.appending("anyvisor.settled") }
    private var pastConsole: HostPath { path.appending("console.past") }
    /// Where the console goes that no file was named for.
    var console: HostPath { path.appending("console.log") }
    /// What the program printed that runs a machine which was taken back with its memory.
    var headlessLog: HostPath { path.appending("headless.log") }
    /// What stands for raw images and for a kernel of the host.
    var files: VirtualBoxFiles { VirtualBoxFiles(in: path) }

    /// Whether we made it.
    var isOurs: Bool { HostFiles.exists(images) }
    /// Whether the machine was started once.
    var hasStarted: Bool { HostFiles.exists(startedMark) }
    /// Whether its last crash is settled.
    var isSettled: Bool { HostFiles.exists(settledMark) }

    /// Whether the last run came to its end by itself or by a command.
    ///
    /// VirtualBox calls a machine whose process died because its service did `poweroff`, as if its guest had ended. The log knows
    /// better: before it tells its service of a machine's end, the process writes `Console: Machine state changed to 'PoweredOff'`
    /// (`Console::i_setMachineState` in ConsoleImpl.cpp).
    var hasEndedInOrder: Bool {
        let log = path.appending("Logs/VBox.log")
        guard let size = HostFiles.size(log), size > 0,
            let tail = try? ConsoleFile.read(log, max(0, size - 16_384), 16_384)
        else { return true }
        let mark = "Machine state changed to '"
        let last = String(decoding: tail, as: UTF8.self).split(separator: "\n").last { $0.contains(mark) }
        return last.map { line in ["'PoweredOff'", "'Saved'", "'Aborted'"].contains { line.contains($0) } } ?? false
    }

    /// Makes the folder; one that a killed process left behind goes first.
    ///
    /// - Throws: `alreadyExists` when something else is in its place, what the host says.
    func make(images files: [HostPath], console: HostPath? = nil) throws {
        if HostFiles.exists(path) {
            guard isOurs || HostFiles.names(in: path).isEmpty else {
                throw BackendError(.alreadyExists, "machine.create", "\(path) is in the way; remove it", blame: .host)
            }
            try HostFiles.removeTree(path)
        }
        try HostFiles.makeDirectories(path, mode: 0o700)
        try HostFiles.write(Array(files.map(\.string).joined(separator: "\0").utf8), to: images)
        if let console { try HostFiles.write(Array(console.string.utf8), to: consoleNote) }
    }

    /// What can be said of a machine whose process keeps VirtualBox from answering.
    var remembered: MachineInfo {
        let console = (try? HostFiles.readText(consoleNote)) ?? self.console.string
        return MachineInfo([
            "CfgFile": path.appending("\(path.name).vbox").string, "uartmode1": "file,\(console)", "VMState": "running",
        ])
    }

    /// The images of the machine's disks.
    var imageFiles: [HostPath] {
        let bytes = (try? HostFiles.read(images)) ?? []
        return bytes.split(separator: 0).map { HostPath(String(decoding: $0, as: UTF8.self)) }
    }

    /// Notes a start; true when it is the first.
    func noteStart() throws -> Bool {
        if isSettled { try HostFiles.removeTree(settledMark) }
        if hasStarted { return false }
        try HostFiles.write([], to: startedMark)
        return true
    }

    /// Takes back what `noteStart` noted, for a start that failed.
    func forgetStart() { try? HostFiles.removeTree(startedMark) }

    /// Notes that a crash was answered.
    func settle() { try? HostFiles.write([], to: settledMark) }

    /// Keeps what the console printed so far, before VirtualBox empties its file.
    func keepConsole(_ file: HostPath) throws {
        guard let size = HostFiles.size(file), size > 0 else { return }
        let past = HostFiles.exists(pastConsole) ? try HostFiles.read(pastConsole) : []
        try HostFiles.write(past + HostFiles.read(file), to: pastConsole)
        _ = try ConsoleFile.begin(file)
    }

    /// The console of all starts from an offset on. Blocks its thread.
    func readConsole(_ file: HostPath, _ offset: Int64, _ count: Int) throws -> [UInt8] {
        let before = HostFiles.size(pastConsole) ?? 0
        var bytes: [UInt8] = []
        if offset < before { bytes = try ConsoleFile.read(pastConsole, offset, count) }
        guard bytes.count < count, HostFiles.exists(file) else { return bytes }
        return bytes + (try ConsoleFile.read(file, max(0, offset - before), count - bytes.count))
    }

    /// Removes the folder with all that is in it.
    func remove() throws { try HostFiles.removeTree(path) }
}
