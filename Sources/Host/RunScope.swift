import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// Everything that one command makes on this host, under one name and one lock.
///
/// ```
/// STATE/runs/<run>/lock           held while the command lives
///                  journal.jsonl  what it made outside these folders
///                  work/          every temporary file
///                  left           what is still there when the command has ended, for `reap`
///                  mount-server   only for `anyvisor mount`: the number of the process that serves it and holds the lock
/// /tmp/av-<uid>-<run>/            sockets and libvirt roots, whose paths must be short
/// ```
public struct RunScope: Sendable {
    /// The run's name: lower case letters and digits.
    public let id: String
    /// The run's folder.
    public let folder: HostPath

    /// A scope by its folder; makes nothing.
    public init(folder: HostPath) {
        id = folder.name
        self.folder = folder
    }

    /// Where temporary files go.
    public var work: HostPath { folder.appending("work") }
    /// The journal all processes of the run append to.
    public var journal: Journal { Journal(folder.appending("journal.jsonl")) }
    /// The file whose lock says that the run lives.
    public var lockFile: HostPath { folder.appending("lock") }
    /// The file that tells the scope of a mounted image from that of a command.
    public var mountServerFile: HostPath { folder.appending("mount-server") }
    /// A private folder with a short path, for sockets (at most 107 bytes); exists while the scope does.
    public var shortDirectory: HostPath { HostPath("/tmp/av-\(getuid())-\(id)") }
    /// Name prefix of the machines of this run.
    public var owner: OwnerTag { OwnerTag("anyvisor-\(id)-") }

    /// The variables that every child process of the run gets; they are also its mark for `reap`.
    public var environment: [String: String] {
        ["ANYVISOR_RUN": id, "ANYVISOR_WORK": work.string, "ANYVISOR_JOURNAL": journal.path.string]
    }

    /// Makes a scope with a new random name and takes its lock; the lock must be kept while the scope is used.
    ///
    /// - Throws: what the host says.
    public static func make(in state: HostPath = HostEnvironment.state) throws -> (scope: RunScope, lock: FileLock) {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        let id = String((0..<10).compactMap { _ in alphabet.randomElement() })
        let scope = RunScope(folder: state.appending("runs").appending(id))
        try HostFiles.makeDirectories(scope.folder.parent, mode: 0o700)
        let lock = try making(in: scope.folder.parent) {
            try HostFiles.makeDirectories(scope.folder, mode: 0o700)
            return try FileLock(scope.lockFile)
        }
        try scope.journal.append(.phase("begin"))
        try HostFiles.makeDirectories(scope.work, mode: 0o700)
        guard mkdir(scope.shortDirectory.string, 0o700) == 0 else {
            throw hostError("scope", "cannot make folder \(scope.shortDirectory)")
        }
        return (scope, lock)
    }

    /// The scope that this task works in, for a process that is not given to one run as a whole; `onOwnThread` takes it along.
    @TaskLocal public static var adopted: RunScope?

    /// The scope that this task works in, else the one that the environment names (set for every child process), nil outside one.
    public static var current: RunScope? {
        if let adopted { return adopted }
        guard let journal = HostEnvironment.variable("ANYVISOR_JOURNAL") else { return nil }
        return RunScope(folder: HostPath(journal).parent)
    }

    /// Leaves the scope to `reap`, although its command ends: something that stands in the journal is still there.
    ///
    /// - Throws: what the host says.
    public func leave(_ what: String) throws { try HostFiles.write(Array(what.utf8), to: folder.appending("left")) }

    /// What the scope was left to `reap` for; nil when there is nothing.
    public var left: String? { try? HostFiles.readText(folder.appending("left")) }

    /// Removes the folders of a scope that ended well; what was journaled must be gone already.
    ///
    /// - Throws: what the host says about the first entry that stays.
    public func remove() throws {
        try HostFiles.removeTree(shortDirectory)
        try HostFiles.removeTree(folder)
    }
}
