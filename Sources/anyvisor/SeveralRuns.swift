import Abstractions
import AnyvisorKit
import Host
import Runner

#if canImport(Glibc)
    import Glibc
#endif

/// Several runs in one command: each in a run scope of its own, all their results in one folder.
struct SeveralRuns {
    let runs: [PlannedRun]
    let runner: Runner
    let batch: Batch
    /// The beginning of the result folder's name when the user gives none.
    let title: String
    /// The result folder.
    let report: String?
    /// The options of a run by its result folder.
    let options: @Sendable (HostPath) -> RunOptions

    /// Runs all and says how it went.
    ///
    /// - Returns: the exit status.
    /// - Throws: `invalidArgument` when the result folder has content, what the host says.
    func run(json: Bool) async throws -> Int32 {
        adviseOnCores()
        let (runs, runner, options, batch, spares) = (runs, runner, options, batch, spares)
        let progress = SeveralRunsProgress(of: runs.count)
        let (folder, result) = try await CommandScope.run { scope in
            let folder = try BatchFolder(HostPath(report ?? "anyvisor-results/\(title)-\(scope.id)"))
            let ticker = Task { await progress.tick() }
            defer { ticker.cancel() }
            let pool = WarmPool(runner, in: scope, limit: batch.jobs, spares: spares, runs: runs.count)
            let result = await batch.run(runs, observer: { progress.show($0) }) { run in
                await Self.attempt(run, runner, options(folder.folder(of: run)), pool)
            }
            // Shielded: the runs may have been interrupted.
            await Task { await pool.close() }.value
            try folder.deliver(result, in: scope)
            return (folder, result)
        }
        progress.finish()
        try say(result, json)
        Terminal.talk("results: \(folder.path)")
        return result.exitCode
    }

    private static func attempt(
        _ run: PlannedRun, _ runner: Runner, _ options: RunOptions, _ pool: WarmPool
    ) async -> RunOutcome {
        do {
            return try await WorkScope().run(
                leftover: { Terminal.talk("anyvisor: \($0); `anyvisor reap` removes it") },
                { scope in await runner.run(run.recipe, options, in: scope, pool: pool) })
        } catch {
            return RunOutcome(BackendError.wrapping(error, "run"))
        }
    }

    private var cores: Int { sysconf(Int32(_SC_NPROCESSORS_ONLN)) }
    private var mostCPUs: Int { runs.map(\.recipe.machine.cpus).max() ?? 1 }

    /// How many machines may make themselves ready beside those that run jobs: a core and memory are left for each, and no job has
    /// more than one.
    private var spares: Int {
        let memory = runs.map(\.recipe.machine.memory).max() ?? .mib(0)
        return max(0, min(batch.jobs, cores / mostCPUs - batch.jobs, batch.budget.machines(of: memory) - batch.jobs))
    }

    private func adviseOnCores() {
        let wanted = batch.jobs * mostCPUs
        if wanted > 4 * cores {
            Terminal.talk(
                "note: up to \(wanted) virtual processors at once on \(cores) cores; deadlines may be too short")
        }
    }

    private func say(_ result: BatchResult, _ json: Bool) throws {
        if json {
            try Terminal.data(Array(try result.json().utf8))
        } else {
            Terminal.table([["run", "status", "exit", "time", "hypervisor", "why"]] + result.runs.map(row))
        }
        let totals = BatchResult.Status.allCases.compactMap { status in
            result.totals[status.rawValue].map { "\($0) \(status.rawValue)" }
        }
        Terminal.talk("\(totals.joined(separator: ", ")); \(RunSummary.time(result.ms))")
    }

    private func row(_ run: BatchResult.Run) -> [String] {
        [
            run.name, run.status.rawValue, run.exitCode.map { "\($0)" } ?? "-", run.ms.map(RunSummary.time) ?? "-",
            run.hypervisor ?? "-", run.why ?? "",
        ]
    }
}
