import ArgumentParser

/// The command line: the one place that knows everything.
@main
struct Anyvisor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "anyvisor",
        abstract:
            "Runs a job in a disposable virtual machine, whichever hypervisor runs it and whichever tool writes its disk.",
        discussion: """
            Example: anyvisor run examples/demo.yaml
            Exit status: 0 all tasks passed, 1 a task did not, 2 usage or recipe, 16 hypervisor, disk backend or host failed,
            75 temporary, try again, 130 interrupted. Standard output is data, standard error is talk.
            """,
        version: ProgramVersion.number,
        subcommands: [
            RunCommand.self, CompareCommand.self, ValidateCommand.self, ReportCommand.self, ReapCommand.self,
            DoctorCommand.self,
            BackendsCommand.self,
            DiskCommand.self, MountCommand.self, UnmountCommand.self,
            VMCommand.self, SnapshotCommand.self, ImageCommand.self, PluginCommand.self, ConformanceCommand.self,
        ])

    static func main() async {
        var command: any ParsableCommand
        do {
            command = try parseAsRoot()
        } catch {
            Terminal.end(with: ExitStatus.report(error))
        }
        do {
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            Terminal.end(with: ExitStatus.report(error))
        }
    }
}
