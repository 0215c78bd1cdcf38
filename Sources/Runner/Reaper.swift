import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Clears up after runs that could not do it themselves, because they were killed.
///
/// A run that lives holds its lock and is left alone. Of a dead one everything goes that carries its name or stands in its
/// journal: processes, mounts, loop devices, domains, redo logs, paths, and at last its folders.
public struct Reaper: Sendable {
    private let state: HostPath
    private let recover: @Sendable (DiskImage) async throws -> Void
    private let destroyDomain: @Sendable (_ uri: String, _ name: String) async throws -> Void

    /// Looks at the runs below `state`.
    ///
    /// - Parameters:
    ///   - recover: replays or drops the redo log of an image.
    ///   - destroyDomain: takes away a domain whose hypervisor outlives our processes.
    public init(
        state: HostPath = HostEnvironment.state,
        recover: @escaping @Sendable (DiskImage) async throws -> Void,
        destroyDomain: @escaping @Sendable (_ uri: String, _ name: String) async throws -> Void
    ) {
        self.state = state
        self.recover = recover
        self.destroyDomain = destroyDomain
    }

    /// What was done about one run.
    public struct Report: Sendable, Hashable, Codable {
        /// The run.
        public var run: String
        /// What was done, in order.
        public var done: [String] = []
        /// What could not be done.
        public var problems: [String] = []
    }

    /// Goes through all runs; those that live are not in the answer.
    public func reap() async -> [Report] {
        var reports: [Report] = []
        for name in HostFiles.names(in: state.appending("runs")) {
            let scope = RunScope(folder: state.appending("runs").appending(name))
            if !HostFiles.exists(scope.lockFile), RunScope.isMaking(in: state) { continue }
            guard let lock = try? FileLock(scope.lockFile) else { continue }
            var report = Report(run: scope.id)
            await clear(scope, &report)
            withExtendedLifetime(lock) {}
            reports.append(report)
        }
        return reports
    }

    private func clear(_ scope: RunScope, _ report: inout Report) async {
        await endProcesses(scope, &report)
        let records = (try? scope.journal.records()) ?? []
        let mounts = records.compactMap { if case .mount(let path) = $0 { path } else { nil } }
        let paths = records.compactMap { if case .path(let path) = $0 { path } else { nil } }
        for folder in [scope.folder, scope.shortDirectory] + mounts + paths { await unmount(folder, &report) }
        for record in Set(records) {
            switch record {
            case .domain(let uri, let name):
                await attempt("domain \(name) at \(uri) destroyed", &report) { try await destroyDomain(uri, name) }
            case .redo(let image) where HostFiles.exists(image.path):
                let hadLog = hasLog(image)
                var quiet = Report(run: "")
                await attempt("image \(image.path) recovered", &quiet) { try await recover(image) }
                report.problems += quiet.problems
                if hadLog { report.done += quiet.done }
            default: break
            }
        }
        for path in paths where path.isAbsolute && HostFiles.exists(path) {
            await attempt("\(path) removed", &report) { try HostFiles.removeTree(path) }
        }
        guard report.problems.isEmpty else { return }
        await attempt("its folders removed", &report) { try scope.remove() }
    }

    /// TERM first, so that a process can let go by itself, then KILL; again for what was started meanwhile.
    private func endProcesses(_ scope: RunScope, _ report: inout Report) async {
        for _ in 0..<5 {
            let found = ProcessIdentity.all(ofRun: scope.id)
            if found.isEmpty { return }
            for (number, patience) in [(SIGTERM, 20), (SIGKILL, 50)] {
                found.forEach { $0.signal(number) }
                for _ in 0..<patience where found.contains(where: \.isAlive) {
                    try? await Task.sleep(for: .milliseconds(50))
                }
            }
            for process in found {
                if process.isAlive {
                    report.problems.append("process \(process.pid) does not end")
                } else {
                    report.done.append("process \(process.pid) ended")
                }
            }
            if !report.problems.isEmpty { return }
        }
    }

    private func unmount(_ folder: HostPath, _ report: inout Report) async {
        // The table alone tells: a dead mount answers no call.
        let before = await onOwnThread { MountTable.mounts(below: folder) }
        let left = await onOwnThread { MountTable.unmountAll(below: folder) }
        for mount in before where !left.contains(mount) { report.done.append("\(mount.path) unmounted") }
        for mount in left {
            report.problems.append("\(mount.path) is still mounted; `umount -l` as root takes it away")
        }
    }

    private func hasLog(_ image: DiskImage) -> Bool {
        HostFiles.names(in: image.path.parent).contains { $0.hasPrefix("\(image.path.name).redo") }
    }

    private func attempt(
        _ what: String, _ report: inout Report, _ body: @Sendable () async throws -> Void
    ) async {
        do {
            try await body()
            report.done.append(what)
        } catch {
            report.problems.append(BackendError.wrapping(error, "reap").message)
        }
    }
}
