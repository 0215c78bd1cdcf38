import Abstractions
import Yams

/// Reads what a recipe and a configuration have in common.
struct LayerReader {
    let document: DocumentReader

    func preference(
        _ node: Node?, _ what: String, _ places: inout [String: Diagnostic.Place]
    ) -> BackendPreference {
        guard let node else { return BackendPreference() }
        // `hypervisor: NAME` and `hypervisor: [NAME, …]` are short for `{prefer: …}`.
        if case .mapping = node {
            guard let fields = document.fields(node, what, known: ["prefer", "options"]) else {
                return BackendPreference()
            }
            return BackendPreference(
                prefer: fields["prefer"].map { names($0, what, &places) } ?? [],
                options: fields["options"].map { options($0, what) } ?? [:])
        }
        return BackendPreference(prefer: names(node, what, &places))
    }

    private func names(_ node: Node, _ what: String, _ places: inout [String: Diagnostic.Place]) -> [String] {
        let nodes = document.list(node, "\(what).prefer")
        if nodes.isEmpty { document.complain(node, "\(what).prefer is empty") }
        for (index, node) in nodes.enumerated() { places["\(what).prefer[\(index)]"] = document.place(node) }
        return nodes.compactMap { document.text($0, "a name in \(what).prefer") }
    }

    private func options(_ node: Node, _ what: String) -> [String: [String: String]] {
        var options: [String: [String: String]] = [:]
        for (_, name, value) in document.pairs(node, "\(what).options") ?? [] {
            for (_, option, node) in document.pairs(value, "options of '\(name)'") ?? [] {
                options[name, default: [:]][option] = document.text(node, "option '\(option)'")
            }
        }
        return options
    }

    func deadlines(_ node: Node?) -> [Deadlines.Key: Duration] {
        guard let node,
            let fields = document.fields(node, "deadlines", known: Deadlines.Key.allCases.map(\.rawValue))
        else { return [:] }
        var deadlines: [Deadlines.Key: Duration] = [:]
        for (name, node) in fields {
            if let key = Deadlines.Key(rawValue: name) {
                deadlines[key] = document.duration(node, "deadline '\(name)'")
            }
        }
        return deadlines
    }

    func results(_ node: Node?) -> ResultQuota? {
        guard let node, let fields = document.fields(node, "results", known: ["size", "files", "depth"]) else {
            return nil
        }
        var quota = ResultQuota()
        if let node = fields["size"], let size = document.bytes(node, "size") { quota.size = size }
        if let node = fields["files"], let files = document.integer(node, "files", in: 1...10_000_000) {
            quota.files = files
        }
        if let node = fields["depth"], let depth = document.integer(node, "depth", in: 1...1000) {
            quota.depth = depth
        }
        return quota
    }
}
