import Abstractions
import AnyvisorKit
import ArgumentParser
import Runner

/// `anyvisor validate`: everything that is wrong with a recipe, without running it.
struct ValidateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate", abstract: "Checks a recipe and says everything that is wrong with it.",
        discussion: "Example: anyvisor validate examples/demo.yaml")
    @Argument(help: "The recipe.") var recipe: String
    @Flag(help: "Print JSON.") var json = false

    private struct Answer: Encodable {
        var ok: Bool
        var problems: [Diagnostic]
        /// How many runs its matrix has.
        var runs: Int?
    }

    func run() async throws {
        let catalogue = try Catalogue.all()
        let found: [Recipe]
        do {
            let configuration = try RunSetup.configuration(catalogue)
            found = try RunSetup.recipes([recipe], catalogue.registry, configuration, try ImageStore.load())
        } catch let problems as Problems {
            if json {
                try Terminal.json(Answer(ok: false, problems: problems.diagnostics))
            } else {
                Terminal.talk(problems.description)
            }
            throw ArgumentParser.ExitCode(ExitStatus.usage)
        }
        let runs = found.first?.matrix.values.isEmpty == false ? found.count : nil
        if json { return try Terminal.json(Answer(ok: true, problems: [], runs: runs)) }
        Terminal.say(runs.map { "OK, \($0) \($0 == 1 ? "run" : "runs")" } ?? "OK")
    }
}
