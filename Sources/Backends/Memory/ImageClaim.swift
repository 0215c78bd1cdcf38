import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Holds an image alone, against other sessions and machines, in this process or another.
///
/// A `memory` disk is replaced as a whole by a commit, so its lock is a file beside it; any other image is locked itself.
final class ImageClaim: Sendable {
    private let lock: FileLock
    private let isBeside: Bool

    /// - Throws: `inUse`, `permissionDenied`.
    init(_ image: DiskImage) throws {
        isBeside = image.format == .memory
        let path = isBeside ? ImageClaim.lockFile(image.path) : image.path
        while true {
            let lock = try ImageClaim.lock(path, image)
            // Whoever held it before us removes the file: then our lock is on a file that has no name any more.
            if !isBeside || lock.isStillNamed {
                self.lock = lock
                return
            }
        }
    }

    /// - Throws: `inUse` when somebody holds the image alone.
    static func checkFree(_ image: DiskImage) throws {
        let path = image.format == .memory ? lockFile(image.path) : image.path
        if FileLock.isHeld(path) { throw taken(image) }
    }

    private static func lock(_ path: HostPath, _ image: DiskImage) throws -> FileLock {
        do {
            return try FileLock(path)
        } catch let error as BackendError where error.code == .inUse {
            throw taken(image)
        }
    }

    private static func taken(_ image: DiskImage) -> BackendError {
        BackendError(
            .inUse, "disk.open", "\(image.path) is in use by another writer or a machine; close that first",
            blame: .host, retry: .backoff)
    }

    private static func lockFile(_ path: HostPath) -> HostPath { HostPath(path.string + ".lock") }

    deinit { if isBeside { unlink(lock.path.string) } }
}
