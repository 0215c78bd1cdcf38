import Abstractions

/// How a chain handles the host side of a copy out of an image.
///
/// A killed backend cannot remove what it made. So each attempt writes into a private folder beside the target, which goes away
/// whole, and only a finished copy is renamed onto the target.
public struct CopyStaging: Sendable {
    /// Writes down durably that the folder will be made, so that it is removed after a kill of this process too.
    public var announce: @Sendable (HostPath) throws -> Void
    /// Removes a folder with all that is in it.
    public var remove: @Sendable (HostPath) throws -> Void

    /// Names the two; the journal and the remover belong to the host layer.
    public init(
        announce: @escaping @Sendable (HostPath) throws -> Void, remove: @escaping @Sendable (HostPath) throws -> Void
    ) {
        self.announce = announce
        self.remove = remove
    }
}
