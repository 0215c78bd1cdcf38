import Abstractions
import AnyvisorKit
import ArgumentParser
import ConformanceKit
import Host
import MemoryBackend
import PluginKit

/// `anyvisor conformance`: one suite over every backend.
struct ConformanceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "conformance",
        abstract:
            "Runs the conformance suite over the backends, each in a process of its own; memory also in this one.",
        discussion: """
            Example: anyvisor conformance --cells direct,vdfuse --formats raw,qcow2-layer
            Every disk case runs over the first kind of image that a backend has; over the others run the cases that look \
            at what an image is made of (images, volumes, commits). With --full all run over all: hours for libguestfs.
            Ends with 1 when a case fails, or when a required cell did not run.
            """)
    @Option(help: "Names of the backends to try, separated by commas; all when it is left out.") var cells: String?
    @OptionGroup var choice: ConformanceChoice
    @Option(help: "File of the cells that may not be skipped: `KIND BACKEND inline|process` a line.") var required:
        String?
    @Flag(help: "Tell every case with its time, as it ends.") var verbose = false
    @Flag(help: "Switch on each fault of the memory backend instead: every one must be caught.") var mutants = false

    func run() async throws {
        let command = self
        let good = try await CommandScope.run { scope in
            let settings = try command.choice.settings(scope)
            if command.mutants {
                let cells = [
                    ConformanceCell(MemoryBackend.hypervisor, .inline), ConformanceCell(MemoryBackend.disk, .inline),
                ]
                return await MutantRun.run(cells, settings) { Terminal.say($0) }
            }
            let wanted = command.cells?.split(separator: ",").map(String.init)
            let catalogue = try Catalogue.all()
            let descriptors = catalogue.registry.descriptors.filter { wanted?.contains($0.name) ?? true }
            let names = try command.required.map { try ConformanceMatrix.requiredCells(HostPath($0)) } ?? []
            // The one backend that this program links also runs inside it; those over C libraries do so in ConformanceTests.
            let inline = MemoryBackend.descriptors.filter { wanted?.contains($0.name) ?? true }
            let cells = inline.map { ConformanceCell($0, .inline) } + descriptors.map { ConformanceCell($0, .process) }
            let report = await Self.run(cells, required: names, settings, isVerbose: command.verbose)
            // A part of the suite proves a part.
            if command.choice.isWhole { await Self.keep(report, descriptors, catalogue) }
            return report.isGood
        }
        if !good { throw ExitCode(ExitStatus.taskFailed) }
    }

    /// Runs the suite and prints its table.
    static func run(
        _ cells: [ConformanceCell], required: [String], _ settings: ConformanceSettings, isVerbose: Bool = false
    ) async -> ConformanceMatrix.Report {
        await ConformanceMatrix(cells, required: required, settings: settings)
            .run(isVerbose: isVerbose, progress: { Terminal.talk($0) }, print: { Terminal.say($0) })
    }

    private static func keep(
        _ report: ConformanceMatrix.Report, _ descriptors: [BackendDescriptor], _ catalogue: Catalogue
    ) async {
        for descriptor in descriptors {
            let name = ConformanceCell(descriptor, .process).name
            guard let cell = report.cells.first(where: { $0.name == name }), cell.skipped == nil else { continue }
            await TrackRecord.note(descriptor, catalogue) {
                $0.suite = .init(passed: cell.passed, failed: cell.failures.count, seconds: TrackRecord.now)
            }
        }
    }
}

/// `anyvisor plugin check NAME`.
struct PluginCheck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Runs the conformance suite on a plugin.",
        discussion: "Example: anyvisor plugin check example-python")
    @Argument(help: "The plugin's name.") var name: String
    @OptionGroup var choice: ConformanceChoice

    func run() async throws {
        let (name, choice) = (name, choice)
        let good = try await CommandScope.run { scope in
            let cells = try Catalogue.manifests(named: name).map {
                ConformanceCell($0.descriptor(programs: ResourceFolders.programs), .process)
            }
            return await ConformanceCommand.run(cells, required: [], try choice.settings(scope)).isGood
        }
        if !good { throw ExitCode(ExitStatus.taskFailed) }
    }
}
