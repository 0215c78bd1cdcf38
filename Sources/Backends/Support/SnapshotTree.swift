import Abstractions

/// The snapshots of one machine, where its disk stands among them, and what a backend keeps of each.
public struct SnapshotTree<Content: Sendable>: Sendable {
    /// One snapshot.
    public struct Node: Sendable {
        /// Its name.
        public var name: SnapshotID
        /// The one that it was taken on top of.
        public var parent: SnapshotID?
        /// What it holds.
        public var scope: SnapshotScope
        /// What the backend keeps of it.
        public var content: Content
    }

    /// Parents before their children.
    public private(set) var nodes: [Node] = []
    /// The one that the disk stands on.
    public private(set) var current: SnapshotID?

    /// A machine without snapshots.
    public init() {}

    /// The snapshot of this name.
    public func find(_ name: SnapshotID) -> Node? { nodes.first { $0.name == name } }

    /// Adds one on top of where the disk stands.
    public mutating func add(_ name: SnapshotID, _ scope: SnapshotScope, _ content: Content) {
        nodes.append(Node(name: name, parent: current, scope: scope, content: content))
        current = name
    }

    /// The disk stands on this one again.
    public mutating func goBack(to name: SnapshotID) { current = name }

    /// Removes one; its children move to its parent.
    public mutating func remove(_ name: SnapshotID, withChildren: Bool = false) {
        guard let node = find(name) else { return }
        nodes.removeAll { $0.name == name || (withChildren && $0.parent == name) }
        for index in nodes.indices where nodes[index].parent == name { nodes[index].parent = node.parent }
        if current == name { current = node.parent }
    }

    /// The snapshots as a listing shows them.
    public var summaries: [SnapshotSummary] {
        nodes.map {
            SnapshotSummary(name: $0.name, parent: $0.parent, scope: $0.scope, isCurrent: $0.name == current)
        }
    }
}

extension SnapshotTree: Codable where Content: Codable {}
extension SnapshotTree.Node: Codable where Content: Codable {}
