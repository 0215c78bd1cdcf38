import Abstractions
import AnyvisorKit
import Comparison
import Host
import Runner

/// From what the user asked for to a design and the experiment that it measures.
struct ComparisonPlan {
    /// What the user asks for.
    struct Request: Sendable {
        var recipe: String
        var factors: [Design.Factor] = []
        var excluded: [[String: String]] = []
        var blocks = 20
        var warmUpBlocks = 1
        var seed: UInt64 = 0
        var quantity: String?
        var halfWidth: Double?
        var allowSimulated = false
    }

    /// Where a design comes from.
    enum Source {
        case new(Request)
        case begun(Design)
    }

    let design: Design
    private let subject: Subject

    private enum Subject {
        case recipes([Recipe], Runner)
        case disks(Catalogue)
    }

    /// - Throws: `Problems` told and exit status 2, `invalidArgument` for what cannot be compared.
    init(_ source: Source) async throws {
        let catalogue = try Catalogue.all()
        switch source {
        case .new(let request):
            let benchmark = try Benchmark(named: request.recipe)
            var design = Design(
                name: request.recipe, factors: request.factors, blocks: request.blocks,
                warmUpBlocks: request.warmUpBlocks, seed: request.seed,
                quantity: request.quantity ?? benchmark?.quantity ?? "total")
            design.excluded = request.excluded
            design.halfWidth = request.halfWidth
            design.allowSimulated = request.allowSimulated
            for factor in benchmark?.factors ?? [] where !design.factors.contains(where: { $0.name == factor.name }) {
                design.factors.append(factor)
            }
            if let benchmark, benchmark.isOfDisks {
                subject = .disks(catalogue)
                try Self.check(design, ["disk", "format"], of: catalogue)
            } else {
                let file = try benchmark?.recipe() ?? HostFiles.absolute(HostPath(request.recipe))
                let (recipes, runner) = try RunSetup.prepared([file.string], catalogue)
                subject = .recipes(recipes, runner)
                design.recipe = benchmark == nil ? file.string : request.recipe
                design.recipeHash = await recipes.first?.hash
                design.recipeText = try HostFiles.readText(file, limit: 1 << 20)
                if benchmark == nil { design.name = recipes.first?.name ?? request.recipe }
                design.factors += Self.matrix(recipes)
                try Self.check(
                    design, ["hypervisor", "disk", "image", "boot"] + Self.matrix(recipes).map(\.name), of: catalogue)
            }
            try design.check()
            self.design = design
        case .begun(let design):
            self.design = design
            guard let recipe = design.recipe else {
                subject = .disks(catalogue)
                return
            }
            let file = try Benchmark(named: recipe)?.recipe() ?? HostPath(recipe)
            let (recipes, runner) = try RunSetup.prepared([file.string], catalogue)
            guard await recipes.first?.hash == design.recipeHash else {
                throw BackendError(
                    .invalidArgument, "compare",
                    "\(file) is not what it was when the comparison began; begin a new one", blame: .caller)
            }
            subject = .recipes(recipes, runner)
        }
    }

    /// The folder of a new comparison.
    ///
    /// - Throws: `invalidArgument` when it has content.
    func newFolder(_ report: String?, _ scope: RunScope) throws -> HostPath {
        let name = design.name.split(separator: "/").last.map { $0.replacing(":", with: "-") } ?? "run"
        return try BatchFolder(HostPath(report ?? "anyvisor-results/compare-\(name)-\(scope.id)")).path
    }

    /// What is measured.
    func experiment(in scope: RunScope) throws -> any Experiment {
        switch subject {
        case .recipes(let recipes, var runner):
            runner.images = ImageFormats(runner.images, in: scope.work.appending("images")).source
            return RecipeExperiment(
                recipes, by: runner, cells: design.cells, in: scope, allowSimulated: design.allowSimulated,
                leftover: { Terminal.talk("anyvisor: \($0); `anyvisor reap` removes it") })
        case .disks(let catalogue):
            return DiskExperiment(catalogue, in: scope)
        }
    }

    /// The recipe's matrix as factors.
    private static func matrix(_ recipes: [Recipe]) -> [Design.Factor] {
        var factors: [Design.Factor] = []
        for value in recipes.flatMap(\.matrix.values) {
            if let place = factors.firstIndex(where: { $0.name == value.name }) {
                if !factors[place].levels.contains(value.text) { factors[place].levels.append(value.text) }
            } else {
                factors.append(Design.Factor(value.name, [value.text]))
            }
        }
        return factors
    }

    private static func check(_ design: Design, _ known: [String], of catalogue: Catalogue) throws {
        func refuse(_ why: String) -> BackendError { BackendError(.invalidArgument, "compare", why, blame: .caller) }
        for factor in design.factors {
            guard known.contains(factor.name) else { throw refuse("\(design.name) does not vary by \(factor.name)") }
            guard !factor.levels.isEmpty else { throw refuse("\(factor.name) has no value") }
            switch factor.name {
            case "hypervisor": try checkNames(factor, .hypervisor, catalogue)
            case "disk": try checkNames(factor, .disk, catalogue)
            case "boot":
                for level in factor.levels where BootMode(rawValue: level) == nil {
                    throw refuse("--boot takes cold and warm, not '\(level)'")
                }
            case "image":
                let images = try ImageStore.load().names
                for level in factor.levels where !images.contains(try ImageFormats.parts(of: level).name) {
                    throw refuse("there is no image '\(level)', there are: \(images.joined(separator: ", "))")
                }
            default: break
            }
        }
    }

    /// Each name is one backend: a chain of several would be measured as a mixture.
    private static func checkNames(_ factor: Design.Factor, _ kind: BackendKind, _ catalogue: Catalogue) throws {
        for level in factor.levels {
            let names = try catalogue.registry.expand([level], kind)
            guard names == [level] else {
                throw BackendError(
                    .invalidArgument, "compare",
                    "'\(level)' stands for \(names.joined(separator: ", ")); name one of them", blame: .caller)
            }
        }
    }
}
