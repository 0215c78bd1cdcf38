import Abstractions
import AnyvisorKit
import ArgumentParser
import Comparison
import Host
import Runner

/// `anyvisor compare`: numbers about hypervisors and disk backends that hold up.
struct CompareCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare", abstract: "Compares hypervisors, disk backends, images and ways to boot by measuring.",
        discussion: """
            Example: anyvisor compare examples/hello-tiny.yaml --hypervisors qemu,kvm --blocks 20 --report results/compared
            Example: anyvisor compare builtin:boot --boot cold,warm
            Example: anyvisor compare --resume results/compared
            Every block measures every combination once, in a fresh random order. The result folder holds raw.jsonl with every \
            sample, and what is made of it: summary.json, samples.csv, report.md and report.html.
            Exit status 1: something is slower than --fail-if-slower allows.
            """)
    @Argument(help: "The recipe, or builtin:NAME: \(Benchmark.names).") var recipe: String?
    @Option(help: "Hypervisors to compare: H[,H].") var hypervisors: String?
    @Option(help: "Disk backends to compare: D[,D].") var disks: String?
    @Option(
        help: "Images of the catalogue to compare, also with their disk in another format: I[@raw|@qcow2|@vdi][,I].")
    var images: String?
    @Option(help: "Ways to boot to compare: cold,warm.") var boot: String?
    @Option(help: "A combination to leave out: hypervisor=H,disk=D; may be given several times.")
    var exclude: [String] = []
    @Option(help: "Blocks that count; with --until-ci the most of them, and 200 if not given. Default: 20.") var blocks:
        Int?
    @Option(help: "Blocks before them that do not count.") var warmUp = 1
    @Option(help: "What the random orders follow from.") var seed: UInt64?
    @Option(help: "The quantity the verdict is about. Default: total, or the benchmark's.") var quantity: String?
    @Option(help: "End when half of every interval's width is at most this: 3%.") var untilCi: String?
    @Option(help: "The result folder; must be new or empty. Default: anyvisor-results/compare-NAME-RUN.")
    var report: String?
    @Option(help: "Go on with the comparison in this folder.") var resume: String?
    @Option(help: "Compute everything anew from raw.jsonl of this folder.") var recompute: String?
    @Option(help: "The folder of an older comparison to hold this one against.") var against: String?
    @Option(help: "How much slower than the older one a cell may be: 5%.") var failIfSlower: String?
    @Flag(help: "Let a hypervisor that only simulates guests count.") var allowSimulated = false
    @Flag(help: "Print summary.json.") var json = false

    func validate() throws {
        guard [recipe, resume, recompute].count(where: { $0 != nil }) == 1 else {
            throw ValidationError("give a recipe, or builtin:NAME, or --resume DIR, or --recompute DIR")
        }
        if let blocks, !(2...10_000).contains(blocks) { throw ValidationError("--blocks must be from 2 to 10000") }
        guard (0...1_000).contains(warmUp) else { throw ValidationError("--warm-up must be from 0 to 1000") }
        _ = try untilCi.map { try Self.part($0, "--until-ci") }
        _ = try failIfSlower.map { try Self.part($0, "--fail-if-slower") }
        if failIfSlower != nil, against == nil { throw ValidationError("--fail-if-slower needs --against DIR") }
    }

    func run() async throws {
        let folder: ComparisonFolder
        if let recompute {
            folder = ComparisonFolder(HostFiles.absolute(HostPath(recompute)))
        } else {
            folder = try await measure()
        }
        let (summary, plotless) = try await folder.write()
        if let plotless { Terminal.talk("note: report.html has no plots: \(plotless.message)") }
        if json {
            try Terminal.data(try ComparisonFolder.json(summary))
        } else {
            Terminal.say(Terminal.printable(summary.verdict))
            if let chosen = summary.quantities.first { Terminal.table(ComparisonTable.rows(chosen)) }
        }
        for warning in summary.warnings { Terminal.talk("warning: \(Terminal.printable(warning))") }
        Terminal.talk("results: \(folder.path)")
        let slower = try slowerCells(summary, folder)
        for line in slower { Terminal.talk("slower: \(Terminal.printable(line))") }
        if !slower.isEmpty { throw ArgumentParser.ExitCode(RunExit.failed) }
        if summary.cells.allSatisfy({ $0.good == 0 }) { throw ArgumentParser.ExitCode(RunExit.infrastructure) }
    }

    private func slowerCells(_ summary: Summary, _ folder: ComparisonFolder) throws -> [String] {
        guard let against else { return [] }
        let allowed = try failIfSlower.map { try Self.part($0, "--fail-if-slower") }
        let older = ComparisonFolder(HostFiles.absolute(HostPath(against)))
        let regressions = try Regression.all(from: older, to: folder)
        guard !regressions.isEmpty else {
            throw BackendError(
                .invalidArgument, "compare",
                "\(against) and this comparison have no cell with \(summary.design.quantity) in common",
                blame: .caller)
        }
        for one in regressions { Terminal.talk("against \(against): \(one.sentence)") }
        return allowed.map { allowed in regressions.filter { $0.isSlower(by: allowed) }.map(\.sentence) } ?? []
    }

    /// Measures, or goes on measuring.
    private func measure() async throws -> ComparisonFolder {
        let plan = try await ComparisonPlan(try options())
        let view = ComparisonView(plan.design)
        let path = try await CommandScope.run { scope in
            let place = try resume.map { HostFiles.absolute(HostPath($0)) } ?? plan.newFolder(report, scope)
            let experiment = try plan.experiment(in: scope)
            do {
                let versions = ["anyvisor": ProgramVersion.text]
                try await ComparisonRun(plan.design, of: experiment, in: place, versions: versions) { view.show($0) }
                    .run()
            } catch {
                await Task { await experiment.close() }.value
                view.finish()
                Terminal.talk("go on with: anyvisor compare --resume \(place)")
                throw error
            }
            await experiment.close()
            return place
        }
        view.finish()
        return ComparisonFolder(path)
    }

    private func options() throws -> ComparisonPlan.Source {
        if let resume { return .begun(try ComparisonFolder(HostFiles.absolute(HostPath(resume))).design()) }
        var request = ComparisonPlan.Request(recipe: recipe ?? "")
        for (name, list) in [("hypervisor", hypervisors), ("disk", disks), ("image", images), ("boot", boot)] {
            if let list { request.factors.append(Design.Factor(name, Self.names(list))) }
        }
        request.excluded = try exclude.map(Self.combination)
        request.halfWidth = try untilCi.map { try Self.part($0, "--until-ci") }
        request.blocks = blocks ?? (untilCi == nil ? 20 : 200)
        request.warmUpBlocks = warmUp
        request.seed = seed ?? UInt64.random(in: 0..<1 << 32)
        request.quantity = quantity
        request.allowSimulated = allowSimulated
        return .new(request)
    }

    private static func names(_ list: String) -> [String] {
        list.split(separator: ",").map { String($0.filter { $0 != " " }) }
    }

    /// `3%`, or `0.03`.
    private static func part(_ text: String, _ option: String) throws -> Double {
        let isPercent = text.hasSuffix("%")
        guard let number = Double(isPercent ? String(text.dropLast()) : text), number > 0, number.isFinite,
            number <= (isPercent ? 100 : 1)
        else { throw ValidationError("\(option) takes a part such as 3%, not '\(text)'") }
        return isPercent ? number / 100 : number
    }

    private static func combination(_ text: String) throws -> [String: String] {
        let pairs = try names(text).map { part -> (String, String) in
            let sides = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard sides.count == 2 else {
                throw ValidationError("--exclude takes NAME=VALUE[,NAME=VALUE], not '\(text)'")
            }
            return (sides[0], sides[1])
        }
        return Dictionary(pairs) { $1 }
    }
}

/// The table that the terminal shows.
enum ComparisonTable {
    static func rows(_ quantity: Summary.QuantitySummary) -> [[String]] {
        let unit = quantity.unit.isEmpty ? "" : " \(quantity.unit)"
        let best = quantity.cells.first?.cell
        return [[quantity.name, "median", "times the best", "95 % interval", "n"]]
            + quantity.cells.map { cell in
                let pair = quantity.pairs.first { $0.first == best && $0.second == cell.cell }
                return [
                    cell.cell, "\(cell.median)\(unit)", pair.map { "\($0.ratio)" } ?? "-",
                    pair.map { "\($0.low) to \($0.high)" } ?? "-", "\(cell.count)",
                ]
            }
    }
}
