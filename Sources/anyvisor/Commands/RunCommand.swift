import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import Runner

/// `anyvisor run`: the tasks of a recipe in a disposable machine.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs a recipe in a disposable machine and brings back its results.",
        discussion: """
            Example: anyvisor run examples/demo.yaml --hypervisor qemu --report results/demo
            The results are a folder: result.json, events.jsonl, console.log and one folder a task.
            """)
    @Argument(help: "The recipe.") var recipe: String
    @Option(help: "Hypervisors to try, in order: H[,H].") var hypervisor: String?
    @Option(help: "Disk backends to try, in order: D[,D].") var disk: String?
    @Option(help: "How the machine comes up: cold, warm. Default: what the recipe says.") var boot: BootMode?
    @Option(help: "The result folder; must be new or empty. Default: anyvisor-results/NAME-RUN.") var report: String?
    @Option(help: "When to keep the IO disk in the result folder: never, failed, always.") var keep: KeepMode = .never
    @Flag(help: "Let a hypervisor that only simulates guests count.") var allowSimulated = false
    @Flag(help: "Print result.json.") var json = false

    /// When disks are kept.
    enum KeepMode: String, ExpressibleByArgument, CaseIterable {
        case never, failed, always
    }

    func run() async throws {
        let catalogue = try Catalogue.load()
        let store = try ImageStore.load()
        let (recipe, runner) = try prepare(catalogue, store)
        let progress = RunProgress(tasks: recipe.tasks.count)
        let outcome = try await CommandScope.run { scope in
            let ticker = Task { await progress.tick() }
            defer { ticker.cancel() }
            let place = report ?? "anyvisor-results/\(recipe.name)-\(scope.id)"
            var options = RunOptions(report: HostPath(place))
            options.hypervisors = names(hypervisor)
            options.disks = names(disk)
            options.allowSimulated = allowSimulated
            options.keep = RunOptions.Keep(rawValue: keep.rawValue) ?? .never
            options.boot = boot
            let pool = WarmPool(runner, in: scope, limit: 1)
            let outcome = await runner.run(recipe, options, in: scope, pool: pool) { progress.show($0) }
            // Shielded: the run may have been interrupted.
            await Task { await pool.close() }.value
            return outcome
        }
        progress.finish()
        try RunSummary(outcome).print(json: json)
        if outcome.exitCode != ExitStatus.success { throw ArgumentParser.ExitCode(outcome.exitCode) }
    }

    private func prepare(_ catalogue: Catalogue, _ store: ImageStore) throws -> (Recipe, Runner) {
        do {
            _ = try catalogue.registry.expand(names(hypervisor), .hypervisor)
            _ = try catalogue.registry.expand(names(disk), .disk)
            let configuration = try RunSetup.configuration(catalogue)
            let recipe = try RunSetup.recipe(self.recipe, catalogue.registry, configuration, store)
            let runner = Runner(
                registry: catalogue.registry, images: RunSetup.images(store), overlay: RunSetup.overlay,
                configuration: configuration)
            return (recipe, runner)
        } catch let problems as Problems {
            Terminal.talk(problems.description)
            throw ArgumentParser.ExitCode(ExitStatus.usage)
        }
    }

    private func names(_ list: String?) -> [String] {
        (list ?? "").split(separator: ",").map { String($0.filter { $0 != " " }) }
    }
}

extension BootMode: ExpressibleByArgument {}
