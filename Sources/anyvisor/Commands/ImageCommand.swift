import Abstractions
import ArgumentParser
import Host

/// `anyvisor image`: the images that machines boot.
struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Lists, builds and removes the images that machines boot.",
        discussion: "Example: anyvisor image build debian-python",
        subcommands: [ImageList.self, ImageBuild.self, ImageRemove.self])
}

struct ImageList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the images and where they are built.",
        discussion: "Example: anyvisor image list")
    @Flag(help: "Print JSON.") var json = false

    private struct Row: Encodable {
        var name: String
        var folder: HostPath?
    }

    func run() async throws {
        let store = try ImageStore.load()
        var rows: [Row] = []
        for name in store.names { rows.append(Row(name: name, folder: try await store.find(name)?.folder)) }
        if json { return try Terminal.json(rows) }
        Terminal.table([["image", "built at"]] + rows.map { [$0.name, $0.folder?.string ?? "not built"] })
    }
}

struct ImageBuild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Builds an image, unless it is built already.",
        discussion: "Example: anyvisor image build tiny")
    @Argument(help: "The image's name.") var name: String
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let name = name
        let image = try await CommandScope.run { _ in try await ImageStore.load().built(name) }
        if json { return try Terminal.json(["name": name, "folder": image.folder.string]) }
        Terminal.say(image.folder.string)
    }
}

struct ImageRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Removes a built image from the cache.",
        discussion: "Example: anyvisor image remove tiny")
    @Argument(help: "The image's name.") var name: String

    func run() async throws {
        let removed = try await ImageStore.load().remove(name)
        Terminal.talk(removed ? "image '\(name)' removed" : "image '\(name)' was not built")
    }
}
