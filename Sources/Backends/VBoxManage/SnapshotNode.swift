import Abstractions

/// A snapshot of VirtualBox's.
struct SnapshotNode: Sendable, Hashable {
    /// Its name, which another may have too.
    var name: SnapshotID
    /// What it is called by.
    var uuid: String
    /// The uuid of the one it was taken on top of.
    var parent: String?
    /// Whether the machine stands on it.
    var isCurrent: Bool
    /// What it was described with, nil when it was not.
    var description: String?

    /// What a snapshot of ours is described with that is to bring the memory back, by whether the guest ran.
    static func description(withMemoryOf state: MachineState) -> String { "anyvisor: with memory, \(state.rawValue)" }

    /// The state in which the machine was when its memory was kept, nil for one of the disks alone.
    var memoryState: MachineState? {
        [.running, .paused].first { description == Self.description(withMemoryOf: $0) }
    }
}
