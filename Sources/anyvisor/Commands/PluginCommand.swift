import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import PluginKit

/// `anyvisor plugin`: backends that live in a process of their own.
struct PluginCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugin", abstract: "Lists, describes and checks plugins.",
        discussion: "Example: anyvisor plugin check example-python",
        subcommands: [PluginList.self, PluginDescribe.self, PluginCheck.self])
}

struct PluginList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the plugins and where their manifests lie.",
        discussion: "Example: anyvisor plugin list")
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let manifests = Catalogue.soundManifests()
        if json { return try Terminal.json(manifests) }
        Terminal.table(
            [["name", "kind", "summary", "folder"]]
                + manifests.map { [$0.name, $0.kind.rawValue, $0.summary, $0.folder.string] })
    }
}

struct PluginDescribe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe", abstract: "Prints what a plugin says of itself, and its options.",
        discussion: "Example: anyvisor plugin describe direct")
    @Argument(help: "The plugin's name.") var name: String

    func run() async throws {
        for manifest in try Catalogue.manifests(named: name) { try Terminal.json(manifest) }
    }
}
