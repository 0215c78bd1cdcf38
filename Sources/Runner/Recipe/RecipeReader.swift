import Abstractions
import Host
import Yams

extension Recipe {
    /// Reads and checks a file's text; what depends on this host is checked by `RecipeCheck`.
    ///
    /// - Returns: a recipe for each cell of its `matrix:`, in order; without one a single recipe.
    /// - Throws: `Problems` with everything that is wrong.
    public static func all(in file: HostPath) throws -> [Recipe] { try RecipeReader(file: file).read() }

    /// Reads and checks a recipe that has no `matrix:`, or one of a single run.
    ///
    /// - Throws: `Problems` with everything that is wrong.
    public init(file: HostPath) throws {
        let all = try Recipe.all(in: file)
        guard let first = all.first, all.count == 1 else {
            throw Problems([
                Diagnostic(.init(file: file.string), "the recipe is for \(all.count) runs, and one is asked for")
            ])
        }
        self = first
    }
}

/// Turns a recipe's YAML into a `Recipe`, or one for each cell of its matrix.
struct RecipeReader {
    let file: HostPath
    let document: DocumentReader

    init(file: HostPath) {
        self.file = file
        document = DocumentReader(file: file)
    }

    static let matrixKey = "matrix"
    private static let keys = [
        "name", "image", "machine", "hypervisor", "disk", "boot", "deadlines", "inputs", "tasks", "results", "masks",
        matrixKey,
    ]

    func read() throws -> [Recipe] {
        let top = try document.top(of: file)
        let matrix = MatrixReader(document: document)
        let recipes: [Recipe]
        if let cells = matrix.cells(top) {
            recipes = cells.compactMap { recipe(matrix.filled(top, $0), $0) }
        } else {
            recipes = [recipe(top, MatrixCell())].compactMap(\.self)
        }
        guard document.diagnostics.isEmpty else { throw Problems(document.diagnostics) }
        return recipes
    }

    /// What is wrong has been complained about.
    private func recipe(_ top: Node, _ cell: MatrixCell) -> Recipe? {
        guard let fields = document.fields(top, "the recipe", known: Self.keys) else { return nil }
        for required in ["image", "tasks"] where fields[required] == nil {
            document.complain(top, "the recipe has no '\(required)'")
        }
        var recipe = Recipe(
            file: file, name: name(fields["name"]), image: .name(""), machine: machine(fields["machine"]),
            hypervisor: BackendPreference(), disk: BackendPreference(), deadlines: [:], inputs: [], tasks: [],
            results: ResultQuota(), matrix: cell, places: [:])
        let layer = LayerReader(document: document)
        recipe.hypervisor = layer.preference(fields["hypervisor"], "hypervisor", &recipe.places)
        recipe.disk = layer.preference(fields["disk"], "disk", &recipe.places)
        recipe.deadlines = layer.deadlines(fields["deadlines"])
        recipe.results = layer.results(fields["results"]) ?? ResultQuota()
        if let node = fields["boot"], let mode = document.word(node, "boot", as: BootMode.self) { recipe.boot = mode }
        recipe.masks = masks(fields["masks"])
        if let node = fields["image"] {
            recipe.places["image"] = document.place(node)
            if let image = image(node) { recipe.image = image }
        }
        let inputs: [Node] = fields["inputs"].map { document.list($0, "inputs") } ?? []
        for (index, node) in inputs.enumerated() {
            recipe.places["inputs[\(index)]"] = document.place(node)
            // A bad input has been complained about, so the numbers cannot be looked at any more.
            if let input = input(node) { recipe.inputs.append(input) }
        }
        if let node = fields["tasks"] { recipe.tasks = tasks(node, cell) }
        return recipe
    }

    private func tasks(_ node: Node, _ cell: MatrixCell) -> [TaskSpec] {
        TaskReader(document: document).tasks(node).map { task in
            var task = task
            task.environment.merge(cell.environment) { own, _ in own }
            return task
        }
    }

    private func name(_ node: Node?) -> String {
        guard let node else {
            let stem = file.name.split(separator: ".").first.map(String.init) ?? "job"
            return stem.filter { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" || $0 == "." }
        }
        guard let text = document.text(node, "name") else { return "" }
        if !TaskReader.isName(text) {
            document.complain(node, "name '\(text)' must be letters, digits, dots, underscores and dashes, at most 64")
        }
        return text
    }

    private func masks(_ node: Node?) -> [String] {
        guard let node else { return [] }
        return document.list(node, "masks").compactMap { node in
            guard let text = document.text(node, "a mask") else { return nil }
            do {
                _ = try Mask(text)
                return text
            } catch {
                document.complain(node, "mask '\(text)' is not a regular expression: \(error)")
                return nil
            }
        }
    }

    private func machine(_ node: Node?) -> MachineShape {
        var shape = MachineShape()
        guard let node,
            let fields = document.fields(node, "machine", known: ["cpus", "memory", "network", "cdrom"])
        else { return shape }
        if let node = fields["cpus"], let cpus = document.integer(node, "cpus", in: 1...256) { shape.cpus = cpus }
        if let node = fields["memory"], let memory = document.bytes(node, "memory") { shape.memory = memory }
        if let node = fields["network"],
            let network = document.word(node, "network", as: MachineSpec.NetworkPolicy.self)
        {
            shape.network = network
        }
        if let node = fields["cdrom"], let path = document.text(node, "cdrom") { shape.cdrom = local(path) }
        return shape
    }

    private func image(_ node: Node) -> ImageReference? {
        if case .scalar = node { return document.text(node, "image").map { .name($0) } }
        guard let fields = document.fields(node, "image", known: ["path", "format"]) else { return nil }
        guard let pathNode = fields["path"], let formatNode = fields["format"] else {
            document.complain(node, "image needs a name, or both 'path' and 'format'")
            return nil
        }
        guard let path = document.text(pathNode, "image path"), let format = document.text(formatNode, "image format")
        else { return nil }
        return .disk(DiskImage(path: local(path), format: ImageFormat(format)))
    }

    private func input(_ node: Node) -> Input? {
        guard let fields = document.fields(node, "an input", known: ["python", "source", "file"]) else { return nil }
        guard fields.count == 1, let (kind, value) = fields.first else {
            document.complain(node, "an input has exactly one of python, source, file")
            return nil
        }
        guard let text = document.text(value, kind) else { return nil }
        if kind == "file" { return .file(local(text)) }
        guard Requirement(text) != nil else {
            document.complain(value, "'\(text)' is not a distribution such as six==1.17.0")
            return nil
        }
        return kind == "python" ? .python(text) : .source(text)
    }

    /// A path of the recipe: relative ones start at its folder.
    private func local(_ path: String) -> HostPath {
        path.hasPrefix("/") ? HostPath(path) : HostFiles.absolute(file).parent.appending(path)
    }
}
