import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What each phase does, up to the moment at which the machine is off.
extension RunSession {
    func resolve() async throws {
        let built: GuestImage
        switch recipe.image {
        case .name(let name): built = try await runner.images.find(name) { [log] in log.note($0) }
        case .disk(let image): built = try GuestImage(disk: image)
        }
        guard recipe.machine.memory >= built.memoryMinimum else {
            throw BackendError(
                .invalidArgument, "resolve",
                "image '\(built.name)' needs at least \(built.memoryMinimum) of memory, the recipe gives \(recipe.machine.memory)"
            )
        }
        image = built
        stamp = built.disk.flatMap { FileStamp($0.path) }
        warm = try await warmRun(built)
        if let warm {
            choice = warm.place.reached.choice
        } else {
            choice = try await hypervisors.next(for: built, cpus: recipe.machine.cpus)
        }
    }

    func fetch() async throws {
        guard let image else { return }
        let fetcher = InputFetcher(cache: runner.cache, work: scope.work, run: scope.id, journal: scope.journal)
        let fetched = try await fetcher.fetch(recipe.inputs, for: image) { [log] in log.note($0) }
        let files = recipe.inputs.compactMap { input -> HostPath? in
            guard case .file(let path) = input else { return nil }
            return path
        }
        inputs = files + fetched
    }

    func prepare() async throws {
        let job = try await JobFolder.write(
            named: recipe.name, recipe.tasks, attempt: scope.id, inputs: inputs, to: scope.work.appending("io"))
        disk = try await IODisk.make(
            at: scope.work.appending("io.raw"), job: job.size, results: recipe.results.size.bytes)
        self.job = job
    }

    func upload() async throws {
        guard let disk, let job else { return }
        let progress = progress("upload")
        let done = try await disks.perform(on: disk.image, .readWrite) { filesystem, session in
            guard let writable = filesystem.writable else {
                throw BackendError(.unsupported, "upload", "cannot write")
            }
            _ = try await writable.copyIn(
                job.path, to: "/", options: CopyInOptions(uid: 0, gid: 0), progress: progress)
            try await session.commit()
        }
        copies["upload"] = done.backend
        try HostFiles.removeTree(job.path)
    }

    /// A disposable disk in a format of the chosen hypervisor; an image without a disk needs none.
    func makeOverlay() async throws {
        guard warm == nil, let base = image?.disk, let choice else { return }
        try dropOverlay()
        overlay = try await runner.overlay(base, scope.work, choice.info.diskFormats)
    }

    func boot() async throws {
        if warm == nil { try await bootCold() } else { try await wake() }
        try await watch?.untilReady()
        try await requireReady()
    }

    func bootCold() async throws {
        while true {
            guard let choice, let image else { return }
            do {
                try await launch(on: choice)
                break
            } catch {
                let known = BackendError.wrapping(error, "boot").named(choice.name)
                guard known.code.fallsThrough, !Task.isCancelled else { throw known }
                // Before the guest ran, so the next hypervisor starts from the same disks.
                await silenceMachine()
                await forgetMachine()
                await hypervisors.reject(choice, known)
                self.choice = nil
                self.choice = try await hypervisors.next(for: image, cpus: recipe.machine.cpus)
                try await makeOverlay()
            }
        }
    }

    private func requireReady() async throws {
        switch await watch?.ending {
        case .late(let reason)?:
            throw BackendError(.timeout, "boot", reason, blame: .guest, evidence: await evidence())
        case .lost(let error)?: throw await withEvidence(error)
        case .off(let state)? where await watch?.readyAt == nil:
            // A machine without a console tells nothing before its results are read.
            guard machine?.console != nil || HostFiles.exists(consoleLog) else { break }
            try await refuseRemoved("boot")
            throw BackendError(
                .internal, "boot",
                "the machine ended (\(state.rawValue)) before its guest was ready"
                    + (await watch?.agentError).map { ": \($0)" }.orEmpty, blame: .guest, evidence: await evidence())
        default: break
        }
    }

    private func launch(on choice: HypervisorChain.Choice) async throws {
        guard let image, let disk, let job else { return }
        let id = MachineID("\(scope.owner)1")
        var attachments = [DiskAttachment(disk.image, role: .io)]
        if let overlay { attachments.insert(DiskAttachment(overlay, role: .system), at: 0) }
        let boot: MachineSpec.BootSource =
            if let iso = recipe.machine.cdrom { .cdrom(iso) } else if let kernel = image.kernel { .kernel(kernel) } else
            {
                .disk
            }
        let spec = MachineSpec(
            id: id, cpus: recipe.machine.cpus, memory: recipe.machine.memory, boot: boot, disks: attachments,
            network: recipe.machine.network, consoleLog: consoleLog)
        try spec.validate()
        try scope.journal.append(.process(id.rawValue))
        let machine = try await choice.hypervisor.create(spec)
        self.machine = machine
        isMachineSilent = false
        let watch = watch(machine, job)
        self.watch = watch
        await watch.begin()
        try await machine.start()
        await watch.markStarted()
    }

    /// A watch over the machine.
    ///
    /// - Parameter start: bytes of the console's file that are none of this run's, for a machine that stays on.
    func watch(_ machine: any Machine, _ job: JobFolder, from start: Int64 = 0, staysOn: Bool = false) -> MachineWatch {
        let tail = ConsoleTail(
            log: consoleLog, facet: staysOn ? nil : machine.console, copy: report.draft.appending("console.log"),
            start: start)
        return MachineWatch(
            machine, tasks: recipe.tasks, token: job.token, console: tail, deadlines: deadlines, log: log,
            staysOn: staysOn)
    }

    var consoleLog: HostPath { warm?.machine?.console ?? scope.work.appending("console.log") }

    /// Follows the tasks to the machine's end.
    ///
    /// - Throws: when the backend is lost, or the agent could not do its job.
    func untilOff() async throws {
        guard let watch else { return }
        let ending = try await watch.untilEnd()
        let agentError = await watch.agentError
        log.add(.machineEnd) {
            switch ending {
            case .off(let state): $0.status = state.rawValue
            case .done: $0.status = "done"
            case .late: $0.status = "late"
            case .lingering: $0.status = "lingering"
            case .lost: $0.status = "lost"
            }
        }
        switch ending {
        case .done: break
        case .late(let reason): note("\(reason); the machine was stopped")
        case .lingering:
            note("the guest said it was done and did not power off; the machine was stopped")
        case .lost(let error): throw await withEvidence(error)
        case .off:
            if let agentError, await !watch.isDone {
                throw BackendError(
                    .internal, "tasks", "the agent in the guest gave up: \(agentError)", blame: .guest,
                    evidence: await evidence())
            }
            try await refuseRemoved("tasks")
            if await !watch.isDone, machine?.console != nil { note("the machine ended before the tasks were over") }
        }
    }

    /// - Throws: `notFound` when the machine is not only off, but somebody has removed it.
    private func refuseRemoved(_ phase: String) async throws {
        // One that cannot be asked any more has told by its end what there is to tell.
        guard let machine, await watch?.isDone == false, (try? await machine.state()) == .gone else { return }
        throw BackendError(
            .notFound, phase, "somebody else removed machine '\(machine.id)' in the middle of the run", blame: .host,
            evidence: await evidence())
    }

    func progress(_ phase: String) -> ProgressSink {
        ProgressSink { [log] progress in
            log.add(.progress) {
                $0.phase = phase
                $0.bytes = progress.bytes
            }
        }
    }

    private func withEvidence(_ error: BackendError) async -> BackendError {
        var known = error
        known.evidence.merge(await evidence()) { theirs, _ in theirs }
        return known
    }

    /// The end of the console, for an error.
    func evidence() async -> [String: String] {
        let path = report.draft.appending("console.log")
        guard let bytes = try? HostFiles.read(path, limit: Int(ConsoleTail.keep) + 1) else { return [:] }
        return ["console": String(decoding: bytes.suffix(4096), as: UTF8.self)]
    }
}

extension String? {
    fileprivate var orEmpty: String { self ?? "" }
}
