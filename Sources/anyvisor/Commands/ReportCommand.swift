import Abstractions
import ArgumentParser
import Comparison
import Host
import Runner

/// `anyvisor report`: what the results of runs say.
struct ReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Shows the results of runs, and compares them.",
        discussion: """
            Example: anyvisor report results/demo --format junit
            Example: anyvisor report diff on-qemu on-kvm
            """, subcommands: [ReportShow.self, ReportDiff.self], defaultSubcommand: ReportShow.self)
}

struct ReportShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Prints the results of a run, or of several, in a format that others read.",
        discussion: "Example: anyvisor report results/demo --format html > demo.html")
    @Argument(help: "The result folder of a run, of several runs, or of a comparison.") var folder: String
    @Option(help: "The format: \(RunReport.Format.allCases.map(\.rawValue).joined(separator: ", ")).")
    var format: RunReport.Format = .json

    func run() async throws {
        let report = try await onOwnThread { Result { try RunReport(HostFiles.absolute(HostPath(folder))) } }.get()
        try Terminal.data(Array(try report.text(format).utf8))
    }
}

extension RunReport.Format: ExpressibleByArgument {}

struct ReportDiff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Says whether two runs of one recipe came to the same.",
        discussion: """
            Example: anyvisor report diff on-qemu on-kvm
            Compared are status, exit code, stdout, stderr and artifacts of each task, after the masks of the recipe.
            Exit status 0: equal, 1: there are differences, one a line.
            """)
    @Argument(help: "The result folder of a run.") var first: String
    @Argument(help: "The result folder of another run.") var second: String
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let (one, two) = (HostPath(first), HostPath(second))
        let found = try await onOwnThread { Result { try RunComparison(one, two).differences() } }.get()
        if json {
            try Terminal.json(found)
        } else {
            for one in found {
                let place = [one.task.map { "task \($0)" }, one.what, one.line.map { "line \($0)" }]
                let what = place.compactMap(\.self).joined(separator: ", ")
                Terminal.say("\(Terminal.printable(what)): \(Terminal.printable("'\(one.first)', '\(one.second)'"))")
            }
        }
        guard found.isEmpty else { throw ExitCode(RunExit.failed) }
        Terminal.talk("the runs came to the same")
    }
}
