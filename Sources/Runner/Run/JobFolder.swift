import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What will lie on the IO disk of a job; the layout is the guest's, see guest/README.md.
struct JobFolder: Sendable {
    /// What becomes the content of the disk.
    let path: HostPath
    /// What the agent puts on its console lines.
    let token: String
    /// The folders of the tasks, in order: `001-install`.
    let taskFolders: [String]

    private struct Manifest: Encodable {
        var schema = 1
        var name: String
        var attempt: String
        var inputs: [String]
        var tasks: [ManifestTask]
    }

    fileprivate struct ManifestTask: Encodable {
        var number: Int
        var id: String
        var run: String
        var timeoutMs: Int64?
        var cpuMs: Int64?
        var memoryBytes: Int64?
        var outputBytes: Int64?
        var needs: [String]
        var artifacts: [String]
        var env: [String: String]
    }

    /// Lays out the job; `inputs` are linked or copied, by their names.
    ///
    /// - Throws: `invalidArgument` for two inputs of one name, what the host says.
    static func write(
        named name: String, _ tasks: [TaskSpec], attempt: String, inputs: [HostPath], to path: HostPath
    ) async throws -> JobFolder {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
        let token = String((0..<24).compactMap { _ in alphabet.randomElement() })
        let folder = JobFolder(path: path, token: token, taskFolders: names(tasks))
        try HostFiles.makeDirectories(folder.job.appending("inputs"))
        try folder.put("token", token + "\n")
        for (place, task) in zip(folder.taskFolders, tasks) { try folder.put(task, in: "tasks/\(place)") }
        try folder.putResults()
        let names = try await folder.put(inputs: inputs)
        let manifest = Manifest(
            name: name, attempt: attempt, inputs: names,
            tasks: tasks.enumerated().map { ManifestTask(number: $0 + 1, $1) })
        try HostFiles.write(try JSONText.encode(manifest, pretty: true), to: folder.job.appending("manifest.json"))
        return folder
    }

    /// The tasks' folder names: numbers of one width, so they sort in the order of execution.
    static func names(_ tasks: [TaskSpec]) -> [String] {
        let width = max(3, "\(tasks.count)".count)
        return tasks.enumerated().map { index, task in
            let number = "\(index + 1)"
            return String(repeating: "0", count: width - number.count) + number + "-" + task.id
        }
    }

    /// The apparent size of everything in it, with a block for each entry.
    var size: Int64 { JobFolder.size(path) }

    private var job: HostPath { path.appending("job") }

    private func put(_ name: String, _ text: String) throws {
        try HostFiles.write(Array(text.utf8), to: job.appending(name))
    }

    /// What a guest would need programs for: the folders of the results, and the reserve, not of zeros so that it has blocks.
    private func putResults() throws {
        for name in taskFolders { try HostFiles.makeDirectories(path.appending("results").appending(name)) }
        try HostFiles.write([UInt8](repeating: 1, count: 1 << 20), to: path.appending(".reserve"))
    }

    private func put(_ task: TaskSpec, in name: String) throws {
        try HostFiles.makeDirectories(job.appending(name))
        try put("\(name)/run.sh", task.run.hasSuffix("\n") ? task.run : task.run + "\n")
        if !task.environment.isEmpty {
            let lines = task.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\(Self.quoted($0.value))\n" }
            try put("\(name)/env", lines.joined())
        }
        let limits: [(String, Int64?)] = [
            ("timeout", task.timeout.map(Self.wholeSeconds)), ("cpu", task.cpu.map(Self.wholeSeconds)),
            ("memory", task.memory?.bytes), ("output", task.output?.bytes),
        ]
        let lines = limits.compactMap { name, value in value.map { "\(name)=\($0)\n" } }
        if !lines.isEmpty { try put("\(name)/limits", lines.joined()) }
        if !task.needs.isEmpty { try put("\(name)/needs", task.needs.map { $0 + "\n" }.joined()) }
        if !task.artifacts.isEmpty { try put("\(name)/artifacts", task.artifacts.map { $0 + "\n" }.joined()) }
    }

    private func put(inputs: [HostPath]) async throws -> [String] {
        var names: Set<String> = []
        let folder = job.appending("inputs")
        for input in inputs {
            guard names.insert(input.name).inserted else {
                throw BackendError(.invalidArgument, "prepare", "two inputs are called '\(input.name)'")
            }
            let target = folder.appending(input.name)
            // A second name costs nothing; across file systems, and for folders and links, it has to be a copy.
            if !HostFiles.isDirectory(input),
                link(HostFiles.resolved(input)?.string ?? input.string, target.string) == 0
            {
                continue
            }
            _ = try await Tool.check(
                "cp", ["-aH", "--reflink=auto", "--sparse=auto", "--", input.string, target.string])
        }
        return names.sorted()
    }

    /// Quotes for sh.
    static func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }

    /// Rounded up: a guest counts whole seconds, and 0 would be no limit worth having.
    private static func wholeSeconds(_ duration: Duration) -> Int64 { max(1, (duration.milliseconds + 999) / 1000) }

    private static func size(_ path: HostPath) -> Int64 {
        var info = stat()
        guard lstat(path.string, &info) == 0 else { return 0 }
        let block: Int64 = 4096
        guard info.st_mode & S_IFMT == S_IFDIR else { return (Int64(info.st_size) + 2 * block - 1) / block * block }
        return HostFiles.names(in: path).reduce(2 * block) { $0 + size(path.appending($1)) }
    }
}

extension JobFolder.ManifestTask {
    fileprivate init(number: Int, _ task: TaskSpec) {
        self.init(
            number: number, id: task.id, run: task.run, timeoutMs: task.timeout?.milliseconds,
            cpuMs: task.cpu?.milliseconds, memoryBytes: task.memory?.bytes, outputBytes: task.output?.bytes,
            needs: task.needs, artifacts: task.artifacts, env: task.environment)
    }
}
