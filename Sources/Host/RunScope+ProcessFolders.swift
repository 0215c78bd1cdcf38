import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// Folders that belong to one process of a run, so that whoever sees it die can clear up behind it, its mounts too.
///
/// They are called `<purpose>.<pid>.<random>` and lie in the run's `work` folder, or in the temporary folder outside a run.
extension RunScope {
    /// Makes a private folder for this process; it has a real path without links.
    ///
    /// - Parameter short: in `shortDirectory`, for sockets.
    /// - Throws: what the host says.
    public static func makeProcessFolder(_ purpose: String, short: Bool = false) throws -> HostPath {
        let scope = RunScope.current
        let place =
            scope.map { short ? $0.shortDirectory : $0.work } ?? HostPath(HostEnvironment.variable("TMPDIR") ?? "/tmp")
        let prefix = scope == nil ? "anyvisor-" : ""
        var template = Array(place.appending("\(prefix)\(purpose).\(getpid()).XXXXXX").string.utf8CString)
        guard mkdtemp(&template) != nil else { throw hostError("scope", "cannot make a folder in \(place)") }
        let path = HostPath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        return HostFiles.resolved(path) ?? path
    }

    /// Takes away what a process made by `makeProcessFolder` and left: mounts first, then its folders. The process must be dead.
    ///
    /// Blocks its thread, so never call it from the cooperative pool.
    /// - Parameter scope: the run that the process belonged to; nil for one outside a run.
    /// - Throws: `inUse` when a mount stays, what the host says about the first entry that stays.
    public static func removeFolders(ofProcess pid: Int32, in scope: RunScope?) throws {
        let places =
            scope.map { [$0.work, $0.shortDirectory] } ?? [HostPath(HostEnvironment.variable("TMPDIR") ?? "/tmp")]
        for place in places {
            for name in HostFiles.names(in: place) {
                let parts = name.split(separator: ".")
                guard parts.count == 3, parts[1] == "\(pid)", scope != nil || name.hasPrefix("anyvisor-") else {
                    continue
                }
                try removeProcessFolder(place.appending(name))
            }
        }
    }

    /// Takes away one such folder and what is mounted there.
    ///
    /// - Throws: `inUse` when a mount stays, what the host says about the first entry that stays.
    public static func removeProcessFolder(_ folder: HostPath) throws {
        if let mount = MountTable.unmountAll(below: folder).first {
            throw BackendError(
                .inUse, "scope", "\(mount.path) is still mounted, `umount -l` as root takes it away", blame: .host)
        }
        // What a library made elsewhere, whatever it was told.
        for line in (try? HostFiles.readText(folder.appending(outsideList)))?.split(separator: "\n") ?? [] {
            try? HostFiles.removeTree(HostPath(String(line)))
        }
        try HostFiles.removeTree(folder)
    }

    /// A file in a process's folder that lists, one a line, what has to be removed with it and lies elsewhere.
    public static let outsideList = "outside"
}
