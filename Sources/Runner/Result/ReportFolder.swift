import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The result folder in the making: beside its final place and journaled, so a run that is killed leaves half of it to `reap`.
struct ReportFolder: Sendable {
    /// Where it will be.
    let target: HostPath
    /// Where it is made.
    let draft: HostPath

    /// Makes the draft.
    ///
    /// - Throws: `invalidArgument` when the target has content, what the host says.
    init(_ target: HostPath, run: String, journal: Journal) throws {
        let target = try Self.free(target)
        self.target = target
        draft = target.parent.appending(".\(target.name).\(run)")
        try HostFiles.makeDirectories(target.parent)
        try journal.append(.path(draft))
        try HostFiles.makeDirectories(draft)
    }

    /// The absolute path of a folder that is not there yet, or empty.
    ///
    /// - Throws: `invalidArgument` when it has content.
    static func free(_ target: HostPath) throws -> HostPath {
        let target = HostFiles.absolute(target)
        if HostFiles.exists(target), !HostFiles.isDirectory(target) || !HostFiles.names(in: target).isEmpty {
            throw BackendError(
                .invalidArgument, "report", "the result folder \(target) exists already, name another with --report")
        }
        return target
    }

    /// Puts the folder in its place, whole.
    ///
    /// - Throws: what the host says; the draft then stands.
    func deliver() throws {
        guard rename(draft.string, target.string) == 0 else {
            throw hostError("report", "cannot put the results in \(target)")
        }
    }

    /// Takes the draft away.
    func drop() { try? HostFiles.removeTree(draft) }
}
