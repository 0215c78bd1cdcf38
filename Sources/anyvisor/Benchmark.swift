import Abstractions
import AnyvisorKit
import Comparison
import Host

/// A benchmark that ships: `builtin:NAME` for `anyvisor compare`.
struct Benchmark {
    let name: String
    /// The quantity that its verdict is about.
    let quantity: String
    /// What it varies when the user does not say.
    var factors: [Design.Factor] = []
    /// Whether it measures disk backends, without a machine.
    var isOfDisks = false

    private static let all = [
        Benchmark(name: "boot", quantity: "first-task"),
        Benchmark(name: "rollback", quantity: "phase.rollback"),
        Benchmark(
            name: "disk-backends", quantity: "total",
            factors: [
                Design.Factor("disk", ["direct", "vdfuse", "libguestfs"]),
                Design.Factor("format", ["raw", "qcow2", "vdi"]),
            ], isOfDisks: true),
        Benchmark(
            name: "image-formats", quantity: "task.read.wall",
            factors: [Design.Factor("image", ["debian-python@raw", "debian-python@qcow2", "debian-python@vdi"])]),
        Benchmark(name: "guest-cpu", quantity: "task.hash.wall"),
        Benchmark(name: "guest-memory", quantity: "task.copy.wall"),
        Benchmark(name: "guest-disk", quantity: "task.disk.wall"),
        Benchmark(name: "lifecycle", quantity: "tasks"),
    ]

    private static let prefix = "builtin:"

    static var names: String { all.map(\.name).joined(separator: ", ") }

    private init(name: String, quantity: String, factors: [Design.Factor] = [], isOfDisks: Bool = false) {
        self.name = name
        self.quantity = quantity
        self.factors = factors
        self.isOfDisks = isOfDisks
    }

    /// The benchmark of this name; nil for what is no `builtin:`.
    ///
    /// - Throws: `invalidArgument` for a name that is not known.
    init?(named text: String) throws {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let name = text.dropFirst(Self.prefix.count)
        guard let found = Self.all.first(where: { $0.name == name }) else {
            throw BackendError(
                .invalidArgument, "compare", "there is no \(text), there are: \(Self.names)", blame: .caller)
        }
        self = found
    }

    /// The recipe's file.
    ///
    /// - Throws: `notFound` when it is not installed.
    func recipe() throws -> HostPath {
        guard let file = ResourceFolders.find("guest")?.appending("benchmarks/\(name).yaml"), HostFiles.exists(file)
        else {
            throw BackendError(
                .notFound, "compare", "the recipe of builtin:\(name) is not installed; `make install` installs it",
                blame: .host)
        }
        return file
    }
}
