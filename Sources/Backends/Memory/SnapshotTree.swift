import Abstractions

/// The snapshots of one machine and where its disk stands.
struct SnapshotTree: Sendable {
    struct Node: Sendable {
        var name: SnapshotID
        var parent: SnapshotID?
        var scope: SnapshotScope
        /// The state to go back to.
        var state: MachineState
        /// The bytes of the writable system disks.
        var disks: [HostPath: [UInt8]]
    }

    private(set) var nodes: [Node] = []
    private(set) var current: SnapshotID?

    func find(_ name: SnapshotID) -> Node? { nodes.first { $0.name == name } }

    /// Adds one on top of where the disk stands.
    mutating func add(_ name: SnapshotID, _ scope: SnapshotScope, _ state: MachineState, _ disks: [HostPath: [UInt8]]) {
        nodes.append(Node(name: name, parent: current, scope: scope, state: state, disks: disks))
        current = name
    }

    mutating func goBack(to name: SnapshotID) { current = name }

    /// Removes one; its children move to its parent.
    mutating func remove(_ name: SnapshotID, withChildren: Bool) {
        guard let node = find(name) else { return }
        nodes.removeAll { $0.name == name || (withChildren && $0.parent == name) }
        for index in nodes.indices where nodes[index].parent == name { nodes[index].parent = node.parent }
        if current == name { current = node.parent }
    }
}
