import Abstractions
import ArgumentParser

/// `anyvisor snapshot`: the snapshots of one's own machines.
struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Takes, shows, restores and removes snapshots of your machines.",
        discussion: "Example: anyvisor snapshot create box clean && anyvisor snapshot restore box clean",
        subcommands: [SnapshotList.self, SnapshotCreate.self, SnapshotRestore.self, SnapshotDelete.self])
}

extension VMOptions {
    /// The snapshots of a machine that exists.
    fileprivate func withSnapshots<Value: Sendable>(
        _ name: String, _ body: @escaping @Sendable (any SnapshotFacet) async throws -> Value
    ) async throws -> Value {
        try await withMachine(name) { machine in
            guard let snapshots = machine.snapshots else {
                throw BackendError(.unsupported, "snapshot", "this hypervisor takes no snapshots")
            }
            return try await body(snapshots)
        }
    }
}

struct SnapshotList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Shows a machine's snapshots as a tree; * marks the one that it stands on.",
        discussion: "Example: anyvisor snapshot list box")
    @Argument(help: "The machine's name.") var machine: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let all = try await options.withSnapshots(machine) { try await $0.list() }
        if options.json { return try Terminal.json(all) }
        var rows = [["snapshot", "holds"]]
        func add(below parent: SnapshotID?, _ lead: String) {
            for snapshot in all where snapshot.parent == parent {
                rows.append([
                    lead + snapshot.name.rawValue + (snapshot.isCurrent ? " *" : ""),
                    snapshot.scope == .disk ? "disks" : "disks, memory",
                ])
                add(below: snapshot.name, lead + "  ")
            }
        }
        add(below: nil, "")
        Terminal.table(rows)
    }
}

struct SnapshotCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Takes a snapshot of a machine's disks.",
        discussion: "Example: anyvisor snapshot create box booted --memory")
    @Argument(help: "The machine's name.") var machine: String
    @Argument(help: "The snapshot's name.") var name: String
    @Flag(help: "Keep the memory of the running guest too.") var memory = false
    @OptionGroup var options: VMOptions

    func run() async throws {
        let (name, scope) = (SnapshotID(name), memory ? SnapshotScope.diskAndMemory : .disk)
        try await options.withSnapshots(machine) { try await $0.create(name, scope: scope) }
    }
}

struct SnapshotRestore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Takes a machine back to a snapshot, and looks whether its disks are.",
        discussion: "Example: anyvisor snapshot restore box clean")
    @Argument(help: "The machine's name; it must be off unless the snapshot has the memory.") var machine: String
    @Argument(help: "The snapshot's name.") var name: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let name = SnapshotID(name)
        try await options.withSnapshots(machine) { try await $0.restore(name) }
    }
}

struct SnapshotDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Removes a snapshot; its children move to its parent.",
        discussion: "Example: anyvisor snapshot delete box clean")
    @Argument(help: "The machine's name.") var machine: String
    @Argument(help: "The snapshot's name.") var name: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let name = SnapshotID(name)
        try await options.withSnapshots(machine) { try await $0.delete(name) }
    }
}
