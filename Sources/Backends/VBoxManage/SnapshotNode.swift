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
}
