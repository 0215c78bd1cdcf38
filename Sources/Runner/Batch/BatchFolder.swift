import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The result folder of several runs: one folder a run, there as soon as that run has ended, and at last `runs.json`, which says that
/// all of them are there.
public struct BatchFolder: Sendable {
    /// Where it is.
    public let path: HostPath

    static let summaryName = "runs.json"

    /// Looks whether there is room for the results; makes nothing.
    ///
    /// - Throws: `invalidArgument` when the folder has content.
    public init(_ path: HostPath) throws { self.path = try ReportFolder.free(path) }

    /// The result folder of one run.
    public func folder(of run: PlannedRun) -> HostPath { path.appending(run.name) }

    /// Writes `runs.json`, whole.
    ///
    /// - Parameter scope: the command's own.
    /// - Throws: what the host says; there is no `runs.json` then.
    public func deliver(_ result: BatchResult, in scope: RunScope) throws {
        let (target, draft) = (path.appending(Self.summaryName), path.appending(".\(Self.summaryName).\(scope.id)"))
        try HostFiles.makeDirectories(path)
        // Made by a process that may be killed before the end of it.
        try scope.journal.append(.path(draft))
        do {
            try HostFiles.makeDirectories(draft)
            let inside = draft.appending(Self.summaryName)
            try HostFiles.write(Array(try result.json().utf8), to: inside)
            guard rename(inside.string, target.string) == 0 else {
                throw hostError("report", "cannot put \(Self.summaryName) in \(path)")
            }
            try HostFiles.removeTree(draft)
        } catch {
            try? HostFiles.removeTree(draft)
            throw error
        }
    }
}
