import Abstractions
import Host
import VirtualDisk

/// Tells an image's format: given, else from the name, confirmed by the header.
enum ImageName {
    /// The image with its format; the path becomes absolute.
    ///
    /// - Throws: `notFound` for a missing file, `invalidArgument` when name and header disagree and no format was given.
    static func resolve(_ path: String, format: String?) throws -> DiskImage {
        let path = HostFiles.absolute(HostPath(path))
        guard HostFiles.exists(path) else {
            throw BackendError(.notFound, "disk.open", "there is no image \(path)", blame: .caller)
        }
        if let format { return DiskImage(path: path, format: ImageFormat(format)) }
        if HostFiles.isDirectory(path) { return DiskImage(path: path, format: .folder) }
        return DiskImage(path: path, format: try VirtualDisk.detectFormat(path))
    }
}
