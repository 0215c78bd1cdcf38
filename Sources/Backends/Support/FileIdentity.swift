/// Names a file whatever it is called, so that a second name of it is known as a hard link.
public struct FileIdentity: Sendable, Hashable {
    /// The file system's number; 0 inside one image.
    public var device: UInt64
    /// The inode's number.
    public var inode: UInt64
    /// Pairs the two.
    public init(device: UInt64 = 0, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}
