import Abstractions

/// A kind of image for which fixtures can be made.
public struct DiskKind: Sendable, Hashable {
    /// The format of its files.
    public let format: ImageFormat
    /// Whether its images are layers over another of the same format.
    public let isLayer: Bool

    /// All kinds; of those that a backend has, the first gets every case.
    public static let all = [
        DiskKind(.raw), DiskKind(.vdi), DiskKind(.vdi, isLayer: true), DiskKind(.vhd), DiskKind(.vhd, isLayer: true),
        DiskKind(.qcow2), DiskKind(.qcow2, isLayer: true), DiskKind(.vmdk), DiskKind(.vmdk, isLayer: true),
        DiskKind(.vhdx), DiskKind(.memory), DiskKind(.folder),
    ]

    /// What it is called by: the format's name, with `-layer` behind it for one that lies over another.
    public var name: String { isLayer ? "\(format)-layer" : format.rawValue }

    /// Whether images hold ext4, which others can look into.
    var isExt: Bool { ![.memory, .folder].contains(format) }
    /// Whether it can hold device nodes and other owners.
    var hasSpecials: Bool { format != .folder }

    private init(_ format: ImageFormat, isLayer: Bool = false) {
        self.format = format
        self.isLayer = isLayer
    }
}
