import Abstractions
import Yams

/// Reads the tasks of a recipe and checks what they need of each other.
struct TaskReader {
    let document: DocumentReader

    private static let keys = ["id", "run", "timeout", "limits", "needs", "artifacts", "env"]

    /// Whether it is a name the guest takes: see `/job/tasks` in the guest's README.
    static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        func plain(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        }
        guard (1...64).contains(bytes.count), plain(bytes[0]) else { return false }
        return bytes.allSatisfy { plain($0) || $0 == 0x2e || $0 == 0x5f || $0 == 0x2d }
    }

    func tasks(_ node: Node) -> [TaskSpec] {
        let nodes = document.list(node, "tasks")
        if nodes.isEmpty { document.complain(node, "the recipe has no task") }
        if nodes.count > 999 { document.complain(node, "\(nodes.count) tasks are more than 999") }
        var found: [(task: TaskSpec, node: Node, needs: [Node])] = []
        for node in nodes {
            guard let fields = document.fields(node, "a task", known: Self.keys), let task = task(node, fields) else {
                continue
            }
            if found.contains(where: { $0.task.id == task.id }) {
                document.complain(fields["id"] ?? node, "two tasks are called '\(task.id)'")
            }
            found.append((task, node, fields["needs"].map { document.list($0, "needs") } ?? []))
        }
        checkNeeds(found)
        return found.map(\.task)
    }

    private func task(_ node: Node, _ fields: [String: Node]) -> TaskSpec? {
        guard let idNode = fields["id"], let runNode = fields["run"] else {
            document.complain(node, "a task needs an 'id' and a 'run'")
            return nil
        }
        guard let id = document.text(idNode, "id"), let run = document.text(runNode, "run") else { return nil }
        if !Self.isName(id) {
            document.complain(
                idNode, "task id '\(id)' must be letters, digits, dots, underscores and dashes, at most 64")
        }
        var task = TaskSpec(id: id, run: run)
        task.timeout = fields["timeout"].flatMap { document.duration($0, "timeout") }
        task.needs = fields["needs"].map { document.texts($0, "needs") } ?? []
        task.artifacts = fields["artifacts"].map { artifacts($0) } ?? []
        task.environment = fields["env"].map { environment($0) } ?? [:]
        if let node = fields["limits"],
            let limits = document.fields(node, "limits", known: ["memory", "cpu", "output"])
        {
            task.memory = limits["memory"].flatMap { document.bytes($0, "memory") }
            task.cpu = limits["cpu"].flatMap { document.duration($0, "cpu") }
            task.output = limits["output"].flatMap { document.bytes($0, "output") }
        }
        return task
    }

    private func artifacts(_ node: Node) -> [String] {
        for pattern in document.list(node, "artifacts") {
            guard let text = document.text(pattern, "an artifact") else { continue }
            if text.contains(where: \.isNewline) { document.complain(pattern, "an artifact is one line") }
            if text.contains("**") { document.complain(pattern, "'**' is not known here, use * for one folder each") }
        }
        return document.list(node, "artifacts").compactMap { $0.string }
    }

    private func environment(_ node: Node) -> [String: String] {
        var variables: [String: String] = [:]
        for (key, name, value) in document.pairs(node, "env") ?? [] {
            let plain = name.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x5f
            }
            guard plain, let first = name.utf8.first, !(0x30...0x39).contains(first) else {
                document.complain(key, "'\(name)' is not a name of a variable")
                continue
            }
            guard case .scalar(let scalar) = value, !scalar.string.contains("\0") else {
                document.complain(value, "the value of '\(name)' must be text")
                continue
            }
            variables[name] = scalar.string
        }
        return variables
    }

    /// Tasks run in the order in which they stand, so a need must stand above.
    private func checkNeeds(_ found: [(task: TaskSpec, node: Node, needs: [Node])]) {
        let ids = found.map(\.task.id)
        let graph = Dictionary(found.map { ($0.task.id, $0.task.needs) }) { first, _ in first }
        for (index, entry) in found.enumerated() {
            for need in entry.needs {
                guard let name = need.string else { continue }
                if !ids.contains(name) {
                    let hint = nearest(to: name, among: ids).map { ", did you mean '\($0)'?" } ?? ""
                    document.complain(need, "task '\(entry.task.id)' needs an unknown task '\(name)'\(hint)")
                } else if let path = cycle(from: name, to: entry.task.id, graph) {
                    document.complain(
                        need, "tasks need each other in a circle: \(([entry.task.id] + path).joined(separator: " -> "))"
                    )
                } else if !ids[..<index].contains(name) {
                    document.complain(
                        need, "task '\(entry.task.id)' stands before '\(name)', which it needs; move it below")
                }
            }
        }
    }

    private func cycle(from start: String, to goal: String, _ graph: [String: [String]]) -> [String]? {
        var seen: Set<String> = []
        func walk(_ name: String) -> [String]? {
            if name == goal { return [name] }
            guard seen.insert(name).inserted else { return nil }
            for next in graph[name] ?? [] {
                if let rest = walk(next) { return [name] + rest }
            }
            return nil
        }
        return walk(start)
    }
}
