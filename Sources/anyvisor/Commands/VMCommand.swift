import Abstractions
import AnyvisorKit
import ArgumentParser
import Host

/// `anyvisor vm`: machines of one's own, outside a run.
struct VMCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vm",
        abstract: "Makes, starts, stops and removes machines of your own.",
        discussion: "Example: anyvisor vm create box --image tiny && anyvisor vm start box && anyvisor vm console box",
        subcommands: [
            VMList.self, VMCreate.self, VMStart.self, VMStop.self, VMState.self, VMConsole.self, VMDestroy.self,
        ])
}

/// The options that the `vm` verbs share.
struct VMOptions: ParsableArguments {
    @Option(help: "Hypervisor backend; the first of the configured chain when it is left out.")
    var hypervisor: String?
    @Flag(help: "Print JSON.")
    var json = false

    /// Opens the hypervisor on the folder that all `vm` verbs of a user share, after whoever has it now.
    func withHypervisor<Value: Sendable>(
        _ body: @escaping @Sendable (any Hypervisor, MachineStore) async throws -> Value
    ) async throws -> Value {
        let names = hypervisor.map { $0.split(separator: ",").map(String.init) }
        return try await CommandScope.run { _ in
            let store = try MachineStore()
            let lock = try await store.lock()
            let catalogue = try Catalogue.load()
            let backend = try catalogue.hypervisorNames(names).first ?? ""
            let access = try await catalogue.hypervisor(backend, options: ["root": store.libvirtRoot.string])
            do {
                let value = try await body(access, store)
                await access.close()
                withExtendedLifetime(lock) {}
                return value
            } catch {
                await access.close()
                throw error
            }
        }
    }

    /// Like `withHypervisor`, for a machine that exists.
    func withMachine<Value: Sendable>(
        _ name: String, _ body: @escaping @Sendable (any Machine, MachineStore) async throws -> Value
    ) async throws -> Value {
        try await withHypervisor { hypervisor, store in
            guard let machine = try await hypervisor.machine(store.id(name)) else {
                throw BackendError(
                    .notFound, "vm", "there is no machine '\(name)'; `anyvisor vm list` shows those there are",
                    blame: .caller)
            }
            return try await body(machine, store)
        }
    }
}

struct VMList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists your machines and their states.", discussion: "Example: anyvisor vm list")
    @OptionGroup var options: VMOptions

    func run() async throws {
        let machines = try await options.withHypervisor { hypervisor, store in
            try await hypervisor.machines(ownedBy: store.owner).map { [store.name($0.id), $0.state.rawValue] }
        }
        if options.json { return try Terminal.json(machines.map { ["name": $0[0], "state": $0[1]] }) }
        Terminal.table([["name", "state"]] + machines)
    }
}

struct VMCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes a machine and does not start it.",
        discussion: "Example: anyvisor vm create box --image tiny --memory 256MiB")
    @Argument(help: "The machine's name.") var name: String
    @Option(help: "An image of `anyvisor image list`; the machine writes to an overlay of its own.") var image: String?
    @Option(help: "A disk image of your own, which the machine writes to.") var diskImage: String?
    @Option(help: "Format of --disk-image; told from its name and header when it is left out.") var format: String?
    @Option(help: "An ISO image to boot from.") var cdrom: String?
    @Option(help: "Virtual processors.") var cpus = 1
    @Option(help: "Memory.") var memory = "512MiB"
    @Option(help: "Network: none, or user (outgoing only).") var network = "none"
    @OptionGroup var options: VMOptions

    func run() async throws {
        guard let bytes = ByteCount(parsing: memory) else {
            throw BackendError(.invalidArgument, "vm.create", "--memory takes a size such as 512MiB, not '\(memory)'")
        }
        guard let policy = MachineSpec.NetworkPolicy(rawValue: network) else {
            throw BackendError(.invalidArgument, "vm.create", "--network takes none or user, not '\(network)'")
        }
        guard [image, diskImage, cdrom].contains(where: { $0 != nil }) else {
            throw BackendError(.invalidArgument, "vm.create", "say what to boot: --image, --disk-image or --cdrom")
        }
        let command = self
        try await options.withHypervisor { hypervisor, store in
            if try await hypervisor.machine(store.id(command.name)) != nil {
                throw BackendError(
                    .alreadyExists, "vm.create", "a machine '\(command.name)' exists; `anyvisor vm destroy` removes it")
            }
            var spec = MachineSpec(
                id: store.id(command.name), cpus: command.cpus, memory: bytes, network: policy,
                consoleLog: store.console(command.name))
            do {
                try await command.equip(&spec, store)
                _ = try await hypervisor.create(spec)
            } catch {
                store.forget(command.name)
                throw error
            }
        }
        Terminal.talk("machine '\(name)' made; `anyvisor vm start \(name)` starts it")
    }

    private func equip(_ spec: inout MachineSpec, _ store: MachineStore) async throws {
        if let image {
            let built = try await ImageStore.load().built(image)
            spec.boot = built.boot
            if let base = built.disk {
                let overlay = store.overlay(name)
                try await Overlay.make(over: base, at: overlay)
                spec.disks.append(DiskAttachment(DiskImage(path: overlay, format: .qcow2), role: .system))
            }
        }
        if let diskImage {
            let path = HostFiles.absolute(HostPath(diskImage))
            spec.disks.append(
                DiskAttachment(
                    try ImageName(path.string, format: format.map { ImageFormat($0) }).image(), role: .system))
        }
        if let cdrom { spec.boot = .cdrom(HostFiles.absolute(HostPath(cdrom))) }
    }
}

struct VMStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Starts a machine.", discussion: "Example: anyvisor vm start box")
    @Argument(help: "The machine's name.") var name: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        try await options.withMachine(name) { machine, _ in try await machine.start() }
    }
}

struct VMStop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "Stops a machine: asks the guest, then cuts the power.",
        discussion: "Example: anyvisor vm stop box --within 20")
    @Argument(help: "The machine's name.") var name: String
    @Option(help: "Seconds that the guest has.") var within = 10.0
    @Flag(help: "Cut the power at once.") var force = false
    @OptionGroup var options: VMOptions

    func run() async throws {
        let mode: StopMode = force ? .force : .graceful(within: .seconds(within))
        let allowance = Duration.seconds(within + 30)
        try await options.withMachine(name) { machine, _ in
            try await CallDeadline.$current.withValue(.now + allowance) { try await machine.stop(mode) }
        }
    }
}

struct VMState: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "state", abstract: "Prints a machine's state.", discussion: "Example: anyvisor vm state box")
    @Argument(help: "The machine's name.") var name: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let state = try await options.withMachine(name) { machine, _ in try await machine.state() }
        if options.json { return try Terminal.json(["state": state]) }
        Terminal.say(state.rawValue)
    }
}

struct VMConsole: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console", abstract: "Prints what a machine's serial console has shown.",
        discussion: "Example: anyvisor vm console box")
    @Argument(help: "The machine's name.") var name: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let name = name
        try await options.withMachine(name) { machine, _ in
            guard let console = machine.console else {
                throw BackendError(.unsupported, "vm.console", "this hypervisor has no console to read")
            }
            var offset: Int64 = 0
            while true {
                let bytes = try await console.read(offset: offset, count: 256 << 10)
                if bytes.isEmpty { return }
                try Terminal.data(bytes)
                offset += Int64(bytes.count)
            }
        }
    }
}

struct VMDestroy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "destroy", abstract: "Removes a machine; disk images of your own stay.",
        discussion: "Example: anyvisor vm destroy box")
    @Argument(help: "The machine's name.") var name: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let name = name
        try await options.withMachine(name) { machine, store in
            try await machine.destroy()
            store.forget(name)
        }
    }
}
