import Abstractions
import Host
import VirtualDisk

/// How a person names an image: its file, and what else it takes to find the content that is meant.
package struct ImageName: Sendable {
    /// The file as it was given.
    package var path: String
    /// Told from the file's name and header when it is nil.
    package var format: ImageFormat?
    /// Another snapshot layer of the image: a file, its name, or its uuid.
    package var layer: String?
    /// A snapshot inside a qcow2 image.
    package var snapshot: String?
    /// More folders in which the parents of a snapshot layer are searched.
    package var parentFolders: [String]
    /// Whether it is read although somebody may be writing to it.
    package var forceStale: Bool

    /// Names an image; looks at nothing.
    package init(
        _ path: String, format: ImageFormat? = nil, layer: String? = nil, snapshot: String? = nil,
        parentFolders: [String] = [], forceStale: Bool = false
    ) {
        self.path = path
        self.format = format
        self.layer = layer
        self.snapshot = snapshot
        self.parentFolders = parentFolders
        self.forceStale = forceStale
    }

    /// The image with its format; the path becomes absolute.
    ///
    /// - Throws: `notFound` for a missing file or layer, `invalidArgument` when name and header disagree and no format was given.
    package func image() throws -> DiskImage {
        var image = try file()
        if !parentFolders.isEmpty { image.parentFolders = parentFolders.map { HostFiles.absolute(HostPath($0)) } }
        image.snapshot = snapshot
        if forceStale { image.forceStale = true }
        guard let layer else { return image }
        return try VirtualDisk.layer(layer, of: image)
    }

    private func file() throws -> DiskImage {
        let path = HostFiles.absolute(HostPath(path))
        guard HostFiles.exists(path) else {
            throw BackendError(.notFound, "disk.open", "there is no image \(path)", blame: .caller)
        }
        if let format { return DiskImage(path: path, format: format) }
        if HostFiles.isDirectory(path) { return DiskImage(path: path, format: .folder) }
        return DiskImage(path: path, format: try VirtualDisk.detectFormat(path))
    }
}
