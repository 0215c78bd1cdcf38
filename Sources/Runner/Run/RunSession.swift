import Abstractions
import Host

/// One run from its first phase to its last. `RunSession+Phases` says what each phase does.
actor RunSession {
    let runner: Runner
    let recipe: Recipe
    let options: RunOptions
    let scope: RunScope
    let log: EventLog
    let deadlines: Deadlines
    let report: ReportFolder
    let hypervisors: HypervisorChain
    let disks: DiskChain
    let rejections: Rejections
    let pool: WarmPool?
    let preference: BackendPreference

    // What the phases made so far.
    var image: GuestImage?
    var stamp: FileStamp?
    var inputs: [HostPath] = []
    var job: JobFolder?
    var disk: IODisk?
    var choice: HypervisorChain.Choice?
    var warm: WarmRun?
    /// Whether the end has begun, so that nothing new is made.
    var isOver = false
    var overlay: DiskImage?
    var machine: (any Machine)?
    var watch: MachineWatch?
    var isMachineSilent = false
    var harvest: ResultCollector.Harvest?
    var copies: [String: RunResult.BackendRecord] = [:]
    var notes: [String] = []

    private var phases: [RunResult.PhaseRecord] = []
    private let startedMs = WallClock.now

    init(
        _ runner: Runner, _ recipe: Recipe, _ options: RunOptions, _ scope: RunScope, _ pool: WarmPool?,
        _ observer: @escaping @Sendable (RunEvent) -> Void
    ) throws {
        let configuration = runner.configuration
        let hypervisor = BackendPreference(prefer: options.hypervisors).over(
            recipe.hypervisor.over(configuration.hypervisor))
        let disk = BackendPreference(prefer: options.disks).over(recipe.disk.over(configuration.disk))
        let deadlines = configuration.deadlines.merging(recipe.deadlines)
        let log = EventLog(attempt: scope.id, observer: observer)
        let rejections = Rejections(log)
        hypervisors = try HypervisorChain(
            hypervisor, runner.registry, cache: runner.cache, deadlines: deadlines,
            reject: { rejections.add(.hypervisor, $0, $1) }, note: { log.note($0) })
        disks = try DiskChain(disk, runner.registry, journal: scope.journal) { rejections.add(.disk, $0, $1) }
        self.runner = runner
        self.recipe = recipe
        self.options = options
        self.scope = scope
        self.log = log
        self.deadlines = deadlines
        self.rejections = rejections
        self.pool = pool
        preference = hypervisor
        report = try ReportFolder(options.report, run: scope.id, journal: scope.journal)
        try log.keep(in: report.draft.appending("events.jsonl"))
    }

    /// Everything, cleanup included.
    func run() async -> RunOutcome {
        log.add(.runStart) { [recipe] in $0.message = recipe.name }
        var failure: BackendError?
        do {
            try await body()
        } catch {
            failure = BackendError.wrapping(error, "run")
        }
        let begun = failure
        // A task of its own, so that cancelling the run does not cancel its cleanup.
        return await Task { await self.finish(begun) }.value
    }

    private func body() async throws {
        try await phase(.resolve) { try await self.resolve() }
        try await phase(.fetch) { try await self.fetch() }
        try await phase(.prepare) { try await self.prepare() }
        try await phase(.upload) { try await self.upload() }
        try await phase(.snapshot) { try await self.makeOverlay() }
        // The watch keeps these two deadlines itself; what is over it are calls that hang.
        let making = warm == nil ? Duration.zero : deadlines[.boot] + deadlines[.snapshot]
        try await phase(.boot, slack: .seconds(2) + deadlines[.call] + making) { try await self.boot() }
        try await phase(.tasks, slack: deadlines[.powerOff] + deadlines[.call]) { try await self.untilOff() }
        try await phase(.download) { try await self.download() }
    }

    /// One timed step: journaled before it makes anything, abandoned at its deadline.
    func phase(
        _ key: Deadlines.Key, slack: Duration = .zero, _ step: @escaping @Sendable () async throws -> Void
    ) async throws {
        let name = key.rawValue
        try Task.checkCancellation()
        try scope.journal.append(.phase(name))
        rejections.enter(name)
        log.add(.phaseStart) { $0.phase = name }
        let begin = ContinuousClock.now
        let startMs = log.elapsedMs
        let limit = deadlines[key] + slack
        var failure: BackendError?
        do {
            let late = BackendError(.timeout, name, "phase '\(name)' was not over within \(limit.inSeconds) s")
            try await abandoning(at: begin + limit, late, step)
        } catch {
            failure = BackendError.wrapping(error, name)
        }
        let ms = begin.duration(to: .now).milliseconds
        let status = failure?.code.rawValue ?? "ok"
        phases.append(.init(name: name, startMs: startMs, ms: ms, status: status))
        log.add(.phaseEnd) {
            $0.phase = name
            $0.status = status
            $0.ms = ms
        }
        if let failure { throw failure }
    }

    /// Gets out what there is, puts everything back, and writes the result.
    private func finish(_ begun: BackendError?) async -> RunOutcome {
        var failure = begun
        isOver = true
        await silenceMachine()
        let wasReady = await watch?.readyAt != nil
        if let begun, begun.code != .cancelled, harvest == nil, wasReady, disk != nil {
            // The run failed with the machine, not with the results: what was synced is still there.
            do {
                try await phase(.download) { try await self.download() }
            } catch {
                note("the results could not be read: \(BackendError.wrapping(error, "download").message)")
            }
        }
        for (key, step) in [
            (Deadlines.Key.rollback, { @Sendable in try await self.rollback() }),
            (.release, { @Sendable in try await self.release() }),
        ] {
            do {
                try await phase(key, step)
            } catch {
                let known = BackendError.wrapping(error, key.rawValue)
                failure = failure.map { $0.caused(by: known) } ?? known
            }
        }
        return await outcome(failure)
    }

    private func outcome(_ failure: BackendError?) async -> RunOutcome {
        var failure = failure
        var result = await makeResult(failure)
        log.add(.runEnd) {
            $0.status = result.status.rawValue
            $0.ms = result.ms
        }
        if result.exitCode == RunExit.usage {
            report.drop()
            return RunOutcome(result: nil, exitCode: RunExit.usage, report: nil, error: failure)
        }
        do {
            try await writeReport(result)
        } catch {
            let known = BackendError.wrapping(error, "report")
            failure = failure.map { $0.caused(by: known) } ?? known
            result.status = .error
            result.error = failure
            result.exitCode = RunExit.infrastructure
            report.drop()
            return RunOutcome(result: result, exitCode: result.exitCode, report: nil, error: failure)
        }
        return RunOutcome(result: result, exitCode: result.exitCode, report: report.target, error: result.error)
    }

    private func makeResult(_ failure: BackendError?) async -> RunResult {
        let tasks = await taskResults()
        var result = RunResult(
            name: recipe.name, attempt: scope.id, status: .passed, exitCode: RunExit.passed,
            simulated: choice?.info.features.contains(.simulated) ?? false, error: failure, startedMs: startedMs,
            ms: log.elapsedMs,
            recipe: .init(
                file: recipe.file.string, sha256: await recipe.hash,
                masks: recipe.masks.isEmpty ? nil : recipe.masks),
            image: image.map { .init(name: $0.name, identity: $0.identity) },
            hypervisor: choice.map { .init(name: $0.name, version: $0.info.version) },
            boot: (warm == nil ? BootMode.cold : .warm).rawValue, disk: copies,
            rejections: rejections.all, phases: phases, tasks: tasks, guest: harvest?.guest ?? [:],
            inputs: inputs.map(\.name), notes: notes, refused: harvest?.refused.refusedCount ?? 0,
            host: HostRecord.values)
        if let failure {
            result.exitCode = RunExit.of(failure)
            result.status = failure.code == .cancelled ? .interrupted : .error
        } else if !tasks.allSatisfy({ $0.status == .success }) {
            result.exitCode = RunExit.failed
            result.status = .failed
        } else if result.simulated && !options.allowSimulated {
            result.exitCode = RunExit.infrastructure
            result.status = .error
            result.error = BackendError(
                .unsupported, "run",
                "all tasks passed, but hypervisor '\(choice?.info.name ?? "")' only simulates guests; "
                    + "--allow-simulated lets that count")
        }
        return result
    }

    private func taskResults() async -> [TaskResult] {
        let times = await watch?.taskMs ?? [:]
        let begun = await watch?.begunTasks ?? []
        let found = harvest?.tasks ?? []
        return recipe.tasks.enumerated().map { index, task in
            var result = found.first { $0.id == task.id } ?? .missing(index + 1, task.id)
            result.hostMs = times[task.id]
            // The agent says on the console that a task begins; the disk has it up to a second later.
            if result.status == .missing, begun.contains(task.id) {
                result.status = .killed
                result.reasons = ["the machine ended as the task began"]
            }
            return result
        }
    }

    func note(_ message: String) {
        notes.append(message)
        log.note(message)
    }
}
