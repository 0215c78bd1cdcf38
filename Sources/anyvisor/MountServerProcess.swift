import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The process that serves a mounted image: `anyvisor-vdfuse --mount`. Its calls block.
struct MountServerProcess: Sendable {
    private let child: ChildProcess
    /// What it shows.
    let files: [File]
    /// What is wrong with the partition table.
    let warning: String?
    /// Its number.
    var pid: Int32 { child.pid }

    /// A file in the mounted folder.
    struct File: Sendable, Codable {
        /// `EntireDisk`, `Partition1` …
        var name: String
        /// Its size in bytes.
        var size: Int64
        /// The partition or the whole disk's file system.
        var volume: Volume?
    }

    private struct Answer: Decodable {
        var files: [File]?
        var error: BackendError?
        var warning: String?
    }

    /// Starts it and waits until all is there.
    ///
    /// - Parameter foreground: its life then ends with this process.
    /// - Throws: what the server says, `crashed`; nothing is mounted then.
    init(program: HostPath, _ image: DiskImage, _ mode: AccessMode, on folder: HostPath, foreground: Bool) throws {
        var environment = HostEnvironment.all
        // It makes a scope of its own.
        for name in ["ANYVISOR_RUN", "ANYVISOR_WORK", "ANYVISOR_JOURNAL"] { environment[name] = nil }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        let coded = String(decoding: try encoder.encode(image), as: UTF8.self)
        child = try ChildProcess(
            program, ["--mount", folder.string, mode.rawValue, foreground ? "foreground" : "background", coded],
            environment: environment, folder: "/", input: foreground ? .pipe : .null, errors: .descriptor(2))
        let line = MountServerProcess.line(from: child.output)
        guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(line)) else {
            child.signal(SIGTERM)
            throw BackendError(.crashed, "mount", "the server of the mount ended (\(child.wait()))", retry: .reopen)
        }
        if let error = answer.error {
            _ = child.wait()
            throw error
        }
        files = answer.files ?? []
        warning = answer.warning
    }

    /// Asks it to commit, unmount and end.
    func end() { child.signal(SIGTERM) }

    /// Waits for its end; false when it could not write everything, which it says on standard error.
    func wait() -> Bool { child.wait() == .exited(0) }

    private static func line(from descriptor: Int32) -> [UInt8] {
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 14)
        while line.last != 0x0a {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { break }
            line += chunk[..<count]
        }
        return line
    }
}
