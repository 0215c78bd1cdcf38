import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import Runner
import VirtualDisk

/// `anyvisor reap`: clears up after runs that were killed.
struct ReapCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reap", abstract: "Removes what killed runs left: machines, processes, mounts, files.",
        discussion: """
            Example: anyvisor reap
            A run that lives is left alone.
            """)
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let reports = try await CommandScope.run { scope in
            let catalogue = try Catalogue.load()
            let reaper = Reaper(
                recover: { image in _ = try await onOwnThread { Result { try VirtualDisk.recover(image) } }.get() },
                destroyDomain: { uri, name in try await Self.destroy(name, at: uri, catalogue) })
            return await reaper.reap()
        }
        if json {
            try Terminal.json(reports)
        } else {
            if reports.isEmpty { Terminal.talk("nothing to reap") }
            for report in reports {
                for line in report.done { Terminal.say("\(report.run): \(line)") }
                for line in report.problems { Terminal.talk("\(report.run): \(line)") }
            }
        }
        if reports.contains(where: { !$0.problems.isEmpty }) { throw ArgumentParser.ExitCode(ExitStatus.backend) }
    }

    /// Destroys a domain through the first backend that reaches its hypervisor by URI; one that is gone already is fine.
    ///
    /// `BACKEND:PROGRAM` names a backend that drives a hypervisor by a program.
    private static func destroy(_ name: String, at uri: String, _ catalogue: Catalogue) async throws {
        let parts = uri.split(separator: ":", maxSplits: 1).map(String.init)
        if parts.count == 2, let owner = catalogue.registry.find(parts[0], .hypervisor),
            owner.options.contains(where: { $0.name == "program" })
        {
            return try await destroy(name, by: owner.name, ["program": parts[1]], catalogue)
        }
        let able = catalogue.registry.all(.hypervisor).filter { descriptor in
            descriptor.options.contains { $0.name == "uri" } && uri.hasPrefix(descriptor.name)
        }
        guard let descriptor = able.first ?? catalogue.registry.find("qemu", .hypervisor) else {
            throw BackendError(.unavailable, "reap", "no backend here reaches \(uri), where machine '\(name)' is")
        }
        try await destroy(name, by: descriptor.name, ["uri": uri], catalogue)
    }

    private static func destroy(
        _ name: String, by backend: String, _ options: [String: String], _ catalogue: Catalogue
    ) async throws {
        let hypervisor = try await catalogue.hypervisor(backend, options: options)
        do {
            try await hypervisor.machine(MachineID(name))?.destroy()
            await hypervisor.close()
        } catch {
            await hypervisor.close()
            throw error
        }
    }
}
