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
            VMList.self, VMCreate.self, VMStart.self, VMStop.self, VMState.self, VMConsole.self,
            VMScreenshot.self, VMDestroy.self,
        ])
}

/// The options that the `vm` verbs share.
struct VMOptions: ParsableArguments {
    @Option(help: "Hypervisors in the order to try; the configured ones when it is left out.")
    var hypervisor: String?
    @Option(
        help: """
            A libvirt connection such as qemu:///session or qemu+ssh://HOST/system, for machines that it has; \
            those of another host are controlled from here and made there.
            """)
    var uri: String?
    @Flag(help: "Print JSON.")
    var json = false

    private var access: MachineAccess {
        MachineAccess(hypervisors: hypervisor.map { $0.split(separator: ",").map(String.init) }, uri: uri)
    }

    /// See `MachineAccess`, inside a scope of the command.
    func withAccess<Value: Sendable>(
        _ body: @escaping @Sendable (MachineAccess) async throws -> Value
    ) async throws -> Value {
        let access = access
        return try await CommandScope.run { _ in try await body(access) }
    }

    /// A machine that exists.
    func withMachine<Value: Sendable>(
        _ name: String, _ body: @escaping @Sendable (any Machine) async throws -> Value
    ) async throws -> Value {
        try await withAccess { try await $0.withMachine(name) { machine, _ in try await body(machine) } }
    }
}

struct VMList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists your machines and their states.", discussion: "Example: anyvisor vm list")
    @OptionGroup var options: VMOptions

    func run() async throws {
        let machines = try await options.withAccess { access in
            try await access.withHypervisor { hypervisor, store in
                try await hypervisor.machines(ownedBy: store.owner).map { [store.name($0.id), $0.state.rawValue] }
            }
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
        try await options.withAccess { access in
            try await access.create(command.name) { spec, store in
                spec.cpus = command.cpus
                spec.memory = bytes
                spec.network = policy
                try await command.equip(&spec, store)
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
        try await options.withMachine(name) { machine in try await machine.start() }
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
        try await options.withMachine(name) { machine in
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
        let state = try await options.withMachine(name) { machine in try await machine.state() }
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
        try await options.withMachine(name) { machine in
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

struct VMScreenshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "screenshot", abstract: "Writes a picture of a machine's screen to a new file.",
        discussion: "Example: anyvisor vm screenshot box box.png")
    @Argument(help: "The machine's name.") var name: String
    @Argument(help: "The new file, a PNG.") var file: String
    @OptionGroup var options: VMOptions

    func run() async throws {
        let path = HostFiles.absolute(HostPath(file))
        let kind = try await options.withMachine(name) { machine in
            guard let screenshot = machine.screenshot else {
                throw BackendError(.unsupported, "vm.screenshot", "this hypervisor takes no pictures")
            }
            return try await screenshot.capture(to: path)
        }
        if options.json { return try Terminal.json(["file": path.string, "type": kind]) }
        Terminal.talk("\(path): \(kind)")
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
        try await options.withAccess { try await $0.destroy(name) }
    }
}
