import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What a commit does to the folder of an image; tests put a faulty one in its place.
protocol SidecarFolder: Sendable {
    /// Makes a new file that those who may open the image may open too.
    func create(_ path: HostPath, beside image: any ImageFile) throws -> any ImageFile
    /// Gives a file another name in its folder, in place of whatever had it.
    func rename(_ path: HostPath, to target: HostPath) throws
    /// Removes a file; none there is no error.
    func remove(_ path: HostPath) throws
    /// Makes the folder's names durable.
    func sync(_ folder: HostPath) throws
}

/// A real folder.
struct HostFolder: SidecarFolder {
    func create(_ path: HostPath, beside image: any ImageFile) throws -> any ImageFile {
        let file = try PosixFile(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
        // The log holds the image's content: the image's owner must be able to recover it, and nobody else to read it.
        var info = stat()
        if stat(image.path.string, &info) == 0 {
            if info.st_uid != geteuid() || info.st_gid != getegid() {
                _ = fchown(file.descriptor, info.st_uid, info.st_gid)
            }
            _ = fchmod(file.descriptor, info.st_mode & 0o666)
        }
        return file
    }

    func rename(_ path: HostPath, to target: HostPath) throws {
        guard Glibc.rename(path.string, target.string) == 0 else {
            throw hostError("disk.commit", "cannot rename \(path) to \(target)")
        }
    }

    func remove(_ path: HostPath) throws {
        guard unlink(path.string) == 0 || errno == ENOENT else {
            throw hostError("disk.commit", "cannot remove \(path)")
        }
    }

    func sync(_ folder: HostPath) throws { try HostFiles.syncDirectory(folder) }
}
