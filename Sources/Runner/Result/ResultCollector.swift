import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Brings what a guest left on the IO disk into the result folder. All of it is hostile: links, devices, endless files.
struct ResultCollector: Sendable {
    /// The result folder.
    let report: HostPath
    /// A private folder on the same file system, where copies land before they are looked at.
    let staging: HostPath
    let tasks: [TaskSpec]
    let folders: [String]
    let quota: ResultQuota

    /// What came back.
    struct Harvest: Sendable {
        var tasks: [TaskResult] = []
        var guest: [String: String] = [:]
        var refused = CopyReport()
        /// Whether the agent got to its end.
        var isComplete = false
    }

    private var limits: CopyLimits { CopyLimits(bytes: quota.size, files: quota.files, depth: quota.depth) }

    /// Copies `/results` under the quota. A tree that does not fit comes back without the part that breaks it.
    ///
    /// - Throws: what the disk backend says; what it copied is then removed.
    func copy(from filesystem: any GuestFilesystem, progress: ProgressSink) async throws -> CopyReport {
        try HostFiles.removeTree(staging)
        do {
            guard try await filesystem.stat("/results").kind == .directory else { return CopyReport() }
        } catch let error as BackendError where error.code == .notFound {
            return CopyReport()
        }
        do {
            return try await filesystem.copyOut(
                "/results", to: staging, policy: .untrusted(limits), progress: progress)
        } catch let error as BackendError where error.code == .quotaExceeded {
            try HostFiles.removeTree(staging)
            return try await copyInParts(filesystem, error, progress)
        }
    }

    /// Each piece by itself, small ones first, so that one endless artifact does not cost the status of its task.
    private func copyInParts(
        _ filesystem: any GuestFilesystem, _ cause: BackendError, _ progress: ProgressSink
    ) async throws -> CopyReport {
        try HostFiles.makeDirectories(staging)
        var report = CopyReport()
        report.refuse(".", cause.message)
        var left = limits
        var pieces = ["agent", "done"]
        for folder in folders {
            pieces += ["status", "exit", "usage", "reason"].map { "\(folder)/\($0)" }
        }
        pieces += folders.flatMap { ["\($0)/stdout", "\($0)/stderr"] } + folders.map { "\($0)/artifacts" }
        for piece in pieces {
            let target = staging.appending(piece)
            try HostFiles.makeDirectories(target.parent)
            do {
                let part = try await filesystem.copyOut(
                    GuestPath("/results/\(piece)"), to: target, policy: .untrusted(left), progress: progress)
                left.bytes = ByteCount(max(0, left.bytes.bytes - part.bytes))
                left.files = max(0, left.files - Int(part.files))
                report.bytes += part.bytes
                report.files += part.files
                for entry in part.refused { report.refuse("\(piece)/\(entry.path)", entry.reason) }
                report.refusedCount += part.refusedCount - Int64(part.refused.count)
            } catch let error as BackendError where error.code == .notFound {
                continue
            } catch let error as BackendError where error.code == .quotaExceeded {
                report.refuse(piece, error.message)
            }
        }
        return report
    }

    /// Sorts what was copied into `tasks/`, and says how each task ended.
    ///
    /// - Throws: what the host says.
    func sort(_ copied: CopyReport) throws -> Harvest {
        var harvest = Harvest(refused: copied)
        let place = report.appending("tasks")
        try HostFiles.makeDirectories(place)
        harvest.guest = KeyValues.parse(Self.text(staging.appending("agent")) ?? "")
        harvest.isComplete = Self.text(staging.appending("done")) == "ok"
        for (index, task) in tasks.enumerated() {
            let from = staging.appending(folders[index])
            let target = place.appending(folders[index])
            // The host made it, empty; a task that began has something in it.
            let came = HostFiles.isDirectory(from) && !HostFiles.names(in: from).isEmpty
            if came, rename(from.string, target.string) != 0 {
                throw hostError("download", "cannot move the results of task '\(task.id)' to \(target)")
            }
            harvest.tasks.append(result(index, task, came ? target : nil, copied))
        }
        let known = Set(folders + ["agent", "done", "started"])
        for name in HostFiles.names(in: staging) where !known.contains(name) {
            harvest.refused.refuse(name, "not the result of a task")
        }
        try HostFiles.removeTree(staging)
        return harvest
    }

    private func result(_ index: Int, _ task: TaskSpec, _ folder: HostPath?, _ copied: CopyReport) -> TaskResult {
        var result = TaskResult(
            number: index + 1, id: task.id, status: .missing, reasons: [], exit: nil, folder: nil, usage: nil,
            stdoutBytes: nil, stderrBytes: nil, artifactFiles: 0, hostMs: nil)
        guard let folder else {
            result.reasons = ["the machine ended before the task ran"]
            return result
        }
        result.folder = "tasks/\(folders[index])"
        result.exit = Self.text(folder.appending("exit")).flatMap { Int32($0) }
        result.usage = Self.text(folder.appending("usage")).map { TaskUsage(parsing: $0) }
        result.stdoutBytes = HostFiles.size(folder.appending("stdout"))
        result.stderrBytes = HostFiles.size(folder.appending("stderr"))
        result.reasons = (Self.text(folder.appending("reason")) ?? "")
            .split(whereSeparator: \.isNewline).prefix(50).map { String($0.prefix(500)) }
        result.artifactFiles = Self.files(in: folder.appending("artifacts"))
        result.status = status(folder, &result.reasons)
        let lost = copied.refused.filter { $0.path.hasPrefix("\(folders[index])/artifacts/") }
        if result.status == .success, !lost.isEmpty {
            result.status = .partial
            result.reasons += lost.prefix(10).map {
                "artifact-refused \($0.path.dropFirst(folders[index].utf8.count + 11)): \($0.reason)"
            }
        }
        return result
    }

    /// The table of the guest's README: a status that stands there counts, none means that the machine ended too early.
    private func status(_ folder: HostPath, _ reasons: inout [String]) -> TaskStatus {
        let path = folder.appending("status")
        guard HostFiles.exists(path), HostFiles.size(path) != 0 else {
            reasons.append("the machine ended while the task ran")
            return .killed
        }
        let written: [TaskStatus] = [.success, .partial, .failure, .error, .killed, .skipped]
        guard let word = Self.text(path), let status = TaskStatus(rawValue: word), written.contains(status) else {
            reasons.append("its status file cannot be understood")
            return .nodata
        }
        return status
    }

    /// A small text file without its last newline; nil when it is none.
    private static func text(_ path: HostPath) -> String? {
        guard let size = HostFiles.size(path), size <= 64 << 10, !HostFiles.isDirectory(path),
            let text = try? HostFiles.readText(path, limit: 64 << 10)
        else { return nil }
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    private static func files(in folder: HostPath) -> Int {
        HostFiles.names(in: folder).reduce(0) { count, name in
            let path = folder.appending(name)
            return count + (HostFiles.isDirectory(path) ? files(in: path) : 1)
        }
    }
}
