import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import Runner

/// `anyvisor run`: the tasks of recipes in disposable machines.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs recipes in disposable machines and brings back their results.",
        discussion: """
            Example: anyvisor run examples/demo.yaml --hypervisor qemu --report results/demo
            Example: anyvisor run examples/matrix.yaml --jobs 2
            The results are a folder: result.json, events.jsonl, console.log and one folder a task. Several runs, of several \
            recipes, of a `matrix:` or by --repeat, have a folder each, and runs.json beside them when all have ended.
            """)
    @Argument(help: "The recipes.") var recipes: [String]
    @Option(help: "Hypervisors to try, in order: H[,H].") var hypervisor: String?
    @Option(help: "Disk backends to try, in order: D[,D].") var disk: String?
    @Option(help: "How the machine comes up: cold, warm. Default: what the recipe says.") var boot: BootMode?
    @Option(help: "Most runs at once.") var jobs = 1
    @Option(name: .customLong("repeat"), help: "How often everything is run.") var times = 1
    @Option(help: "The result folder; must be new or empty. Default: anyvisor-results/NAME-RUN.") var report: String?
    @Option(help: "When to keep the IO disk in the result folder: never, failed, always.") var keep: KeepMode = .never
    @Flag(help: "Let a hypervisor that only simulates guests count.") var allowSimulated = false
    @Flag(help: "Print result.json, or runs.json of several runs.") var json = false

    /// When disks are kept.
    enum KeepMode: String, ExpressibleByArgument, CaseIterable {
        case never, failed, always
    }

    func validate() throws {
        guard (1...256).contains(jobs) else { throw ValidationError("--jobs must be from 1 to 256") }
        guard (1...10_000).contains(times) else { throw ValidationError("--repeat must be from 1 to 10000") }
    }

    func run() async throws {
        let catalogue = try Catalogue.all()
        _ = try catalogue.registry.expand(names(hypervisor), .hypervisor)
        _ = try catalogue.registry.expand(names(disk), .disk)
        let (found, runner) = try RunSetup.prepared(recipes, catalogue)
        let runs = try PlannedRun.all(found, times: times)
        let budget = try MemoryBudget.ofHost()
        let status: Int32
        if runs.count == 1, let only = runs.first {
            try budget.check(only.recipe.machine.memory)
            status = try await run(only.recipe, by: runner)
        } else {
            let title = recipes.count == 1 ? found.first?.name : nil
            let several = SeveralRuns(
                runs: runs, runner: runner, batch: Batch(jobs: min(jobs, runs.count), budget: budget),
                title: title ?? "runs", report: report, options: { options(report: $0) })
            status = try await several.run(json: json)
        }
        if status != ExitStatus.success { throw ArgumentParser.ExitCode(status) }
    }

    private func run(_ recipe: Recipe, by runner: Runner) async throws -> Int32 {
        let progress = RunProgress(tasks: recipe.tasks.count)
        let outcome = try await CommandScope.run { scope in
            let ticker = Task { await progress.tick() }
            defer { ticker.cancel() }
            let place = report ?? "anyvisor-results/\(recipe.name)-\(scope.id)"
            let pool = WarmPool(runner, in: scope, limit: 1, runs: 1)
            let outcome = await runner.run(recipe, options(report: HostPath(place)), in: scope, pool: pool) {
                progress.show($0)
            }
            // Shielded: the run may have been interrupted.
            await Task { await pool.close() }.value
            return outcome
        }
        progress.finish()
        try RunSummary(outcome).print(json: json)
        return outcome.exitCode
    }

    private func options(report: HostPath) -> RunOptions {
        var options = RunOptions(report: report)
        options.hypervisors = names(hypervisor)
        options.disks = names(disk)
        options.allowSimulated = allowSimulated
        options.keep = RunOptions.Keep(rawValue: keep.rawValue) ?? .never
        options.boot = boot
        return options
    }

    private func names(_ list: String?) -> [String] {
        (list ?? "").split(separator: ",").map { String($0.filter { $0 != " " }) }
    }
}

extension BootMode: ExpressibleByArgument {}
