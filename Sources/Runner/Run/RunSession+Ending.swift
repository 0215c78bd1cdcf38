import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// From the machine's end to the last file: results, rollback, release.
extension RunSession {
    /// Makes sure that the machine writes no more, by the backend or without it; never waits for long.
    func silenceMachine() async {
        guard let machine, !isMachineSilent else { return }
        isMachineSilent = true
        await watch?.end()
        if let warm = warm?.machine {
            do {
                return try await stillMachine(warm)
            } catch {
                return note("the IO disk could not be read: \(BackendError.wrapping(error, "machine.pause").message)")
            }
        }
        let late = BackendError(.timeout, "machine.stop", "the hypervisor does not stop \(machine.id)")
        do {
            try await abandoning(at: .now + deadlines[.call], late) {
                let state = try await machine.state()
                if [.running, .paused, .crashed].contains(state) { try await machine.stop(.force) }
            }
        } catch {
            let known = BackendError.wrapping(error, "machine.stop")
            if known.code == .notFound { return }
            note("the machine was ended without its hypervisor: \(known.message)")
            await killMachine(machine.id, of: scope)
        }
    }

    /// Destroys the machine, within the time for one call; false when it may be there still.
    @discardableResult func forgetMachine() async -> Bool {
        guard let machine else { return true }
        self.machine = nil
        watch = nil
        let late = BackendError(.timeout, "machine.destroy", "the hypervisor does not destroy \(machine.id)")
        do {
            try await abandoning(at: .now + deadlines[.call], late) { try await machine.destroy() }
            return true
        } catch {
            log.note(BackendError.wrapping(error, "machine.destroy").message)
            return false
        }
    }

    /// A hypervisor that outlives its process still knows a machine that it could not be asked to remove.
    private func leaveToReap(_ id: MachineID) {
        let records = (try? scope.journal.records()) ?? []
        for case .domain(let uri, id.rawValue) in records {
            let what = "machine '\(id)' is still defined at \(uri)"
            note("\(what); `anyvisor reap` removes it")
            try? scope.leave(what)
            return
        }
    }

    func download() async throws {
        guard let disk, let job else { return }
        await silenceMachine()
        if await !(watch?.isDone ?? false) { try await disk.settle() }
        let collector = ResultCollector(
            report: report.draft, staging: report.draft.appending(".incoming"), tasks: recipe.tasks,
            folders: job.taskFolders, quota: recipe.results)
        let sink = progress("download")
        let copy: @Sendable (any GuestFilesystem, any DiskSession) async throws -> CopyReport = { filesystem, _ in
            try await collector.copy(from: filesystem, progress: sink)
        }
        let done: (value: CopyReport, backend: RunResult.BackendRecord)
        do {
            done = try await disks.perform(on: disk.image, .readOnly, copy)
        } catch let error as BackendError where error.code == .corrupt {
            // A guest can say that it is done and still have left its disk dirty.
            note("the IO disk was repaired before its results were read: \(error.message)")
            try await disk.settle()
            done = try await disks.perform(on: disk.image, .readOnly, copy)
        }
        copies["download"] = done.backend
        harvest = try collector.sort(done.value)
    }

    /// The image must be as it was; what was made over it goes, and a warm machine is taken back.
    func rollback() async throws {
        try await returnMachine()
        try dropOverlay()
        guard let base = image?.disk, let stamp else { return }
        guard let now = FileStamp(base.path), !now.differs(from: stamp) else {
            throw BackendError(
                .corrupt, "rollback",
                "image \(base.path) was changed during the run, by whomever; build it anew before the next run",
                blame: .host)
        }
    }

    func dropOverlay() throws {
        guard let overlay else { return }
        self.overlay = nil
        try HostFiles.removeTree(overlay.path)
    }

    /// Frees the machine and the backends; a backend that hangs is left to its own end.
    func release() async throws {
        let loss: BackendError? = if case .lost(let error) = await watch?.ending { error } else { nil }
        let watch = watch
        await dropMachine()
        if warm != nil {
            machine = nil
        } else if let id = machine?.id {
            if loss != nil, let machine { await killMachine(machine.id, of: scope) }
            // A backend that answers no more is not asked, unless it can be reached anew.
            let isAsked = loss == nil || loss?.retry == .reopen
            let isGone = isAsked ? await forgetMachine() : false
            if !isGone { leaveToReap(id) }
        }
        self.watch = watch
        let late = BackendError(.timeout, "release", "a backend does not close")
        let disks = disks
        let choice = warm == nil ? choice : nil
        do {
            try await abandoning(at: .now + deadlines[.call], late) {
                await disks.close()
                await choice?.close()
            }
        } catch {
            note(BackendError.wrapping(error, "release").message)
        }
    }

    func writeReport(_ result: RunResult) async throws {
        let draft = report.draft
        try HostFiles.removeTree(draft.appending(".incoming"))
        if let refused = harvest?.refused, refused.refusedCount > 0 {
            try HostFiles.write(try JSONText.encode(refused, pretty: true), to: draft.appending("refused.json"))
        }
        let isKept = options.keep == .always || (options.keep == .failed && result.exitCode != RunExit.passed)
        if isKept, let disk {
            _ = try await Tool.check(
                "cp",
                ["--reflink=auto", "--sparse=always", "--", disk.image.path.string, draft.appending("io.raw").string])
        }
        try HostFiles.write(Array(try result.json().utf8), to: draft.appending("result.json"))
        try report.deliver()
    }
}

extension TaskResult {
    /// A task of which nothing came back.
    static func missing(_ number: Int, _ id: String) -> TaskResult {
        TaskResult(
            number: number, id: id, status: .missing, reasons: ["the run ended before the task ran"], exit: nil,
            folder: nil, usage: nil, stdoutBytes: nil, stderrBytes: nil, artifactFiles: 0, hostMs: nil)
    }
}

/// What a result says of the host it was made on.
enum HostRecord {
    static var values: [String: String] {
        var name = utsname()
        guard uname(&name) == 0 else { return [:] }
        func text<Tuple>(_ tuple: Tuple) -> String {
            withUnsafeBytes(of: tuple) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return [
            "system": text(name.sysname), "kernel": text(name.release), "architecture": text(name.machine),
            "cpus": "\(sysconf(Int32(_SC_NPROCESSORS_ONLN)))",
        ]
    }
}
