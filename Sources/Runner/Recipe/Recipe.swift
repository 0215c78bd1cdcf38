import Abstractions
import Host

/// What a user wants to have run: image, machine, inputs and tasks.
public struct Recipe: Sendable, Hashable {
    /// The file it was read from; `file:` inputs are relative to its folder.
    public var file: HostPath
    /// Its name, for people and for the result folder.
    public var name: String
    /// The image that the machine boots.
    public var image: ImageReference
    /// The machine's size.
    public var machine: MachineShape
    /// The hypervisors to try, in order.
    public var hypervisor: BackendPreference
    /// The disk backends to try, in order.
    public var disk: BackendPreference
    /// How the machine comes up.
    public var boot = BootMode.cold
    /// Deadlines that differ from the table.
    public var deadlines: [Deadlines.Key: Duration]
    /// What goes into the machine beside the tasks.
    public var inputs: [Input]
    /// What is run, in this order.
    public var tasks: [TaskSpec]
    /// How much may come out.
    public var results: ResultQuota
    /// Regular expressions for what differs from run to run; see `RunComparison`.
    public var masks: [String] = []
    /// The values of `matrix:` that this one of its runs has.
    public var matrix = MatrixCell()
    /// Where the checked things stand, keyed like `image`, `inputs[2]`, `hypervisor.prefer[0]`.
    public var places: [String: Diagnostic.Place]

    /// The SHA-256 of the file's bytes in hexadecimal, nil when it cannot be read.
    package var hash: String? {
        get async {
            let outcome = try? await Tool.run("sha256sum", ["--", file.string], deadline: .seconds(10))
            return outcome?.text.split(separator: " ").first.map(String.init)
        }
    }

    /// The place of a thing, or the start of the file.
    public func place(_ key: String) -> Diagnostic.Place { places[key] ?? Diagnostic.Place(file: file.string) }
}

/// How a machine comes up.
public enum BootMode: String, Sendable, CaseIterable {
    /// It boots.
    case cold
    /// It is taken back to the moment in which it had booted, where the hypervisor and the image can do that.
    case warm
}

/// An image by name, or by its file.
public enum ImageReference: Sendable, Hashable {
    /// From the catalogue.
    case name(String)
    /// A disk image of the user's.
    case disk(DiskImage)
}

/// The size of a machine.
public struct MachineShape: Sendable, Hashable {
    /// Virtual processors.
    public var cpus = 1
    /// Memory.
    public var memory = ByteCount.mib(512)
    /// Its network.
    public var network = MachineSpec.NetworkPolicy.none
    /// An ISO image to boot from.
    public var cdrom: HostPath?
}

/// Which backends to try, and their options.
public struct BackendPreference: Sendable, Hashable {
    /// Names in order; empty leaves it to the next layer of configuration.
    public var prefer: [String]
    /// Options by backend.
    public var options: [String: [String: String]]

    /// Says which backends to try.
    public init(prefer: [String] = [], options: [String: [String: String]] = [:]) {
        self.prefer = prefer
        self.options = options
    }

    /// This preference over a weaker one.
    func over(_ weaker: BackendPreference) -> BackendPreference {
        BackendPreference(
            prefer: prefer.isEmpty ? weaker.prefer : prefer,
            options: weaker.options.merging(options) { $0.merging($1) { $1 } })
    }
}

/// Something that goes into the machine.
public enum Input: Sendable, Hashable {
    /// A Python distribution and its dependencies, as wheels where there are any: `six==1.17.0`.
    case python(String)
    /// The source archive of a Python distribution: `six==1.17.0`.
    case source(String)
    /// A file or folder of the host.
    case file(HostPath)
}

/// One task.
public struct TaskSpec: Sendable, Hashable {
    /// Its name: letters, digits, dots, underscores and dashes, at most 64.
    public var id: String
    /// A shell script.
    public var run: String
    /// Wall time.
    public var timeout: Duration?
    /// Most memory of the whole process tree.
    public var memory: ByteCount?
    /// Most processor time of the whole process tree.
    public var cpu: Duration?
    /// Most bytes of output.
    public var output: ByteCount?
    /// Tasks that must have succeeded.
    public var needs: [String]
    /// Shell patterns of files to bring back.
    public var artifacts: [String]
    /// More environment.
    public var environment: [String: String]

    /// Describes a task.
    public init(id: String, run: String, needs: [String] = [], artifacts: [String] = []) {
        self.id = id
        self.run = run
        self.needs = needs
        self.artifacts = artifacts
        environment = [:]
    }
}

/// How much may come out of a run.
public struct ResultQuota: Sendable, Hashable {
    /// Room for results on the IO disk, and the most apparent bytes that are brought back.
    public var size = ByteCount.mib(256)
    /// Most files.
    public var files = 100_000
    /// Deepest folder.
    public var depth = 64
}
