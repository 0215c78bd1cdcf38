import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// An open-file-description write lock on a whole file; it ends with the process, however that ends.
public final class FileLock: Sendable {
    /// The locked file.
    public let path: HostPath
    private let descriptor: Int32

    // Linux's F_OFD_SETLK and F_OFD_GETLK, which the Swift overlay does not import.
    package static let setLock: Int32 = 37
    static let getLock: Int32 = 36

    /// Takes the lock; makes the file when it is missing.
    ///
    /// - Throws: `inUse` when somebody else has it.
    public init(_ path: HostPath) throws {
        let descriptor = open(path.string, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw hostError("lock", "cannot open \(path)") }
        var request = flock()
        request.l_type = Int16(F_WRLCK)
        request.l_whence = Int16(SEEK_SET)
        guard fcntl(descriptor, FileLock.setLock, &request) == 0 else {
            let failure = hostError("lock", "\(path) is locked by another process")
            Glibc.close(descriptor)
            throw failure
        }
        self.path = path
        self.descriptor = descriptor
    }

    /// Whether somebody holds the lock now; false for a missing file.
    public static func isHeld(_ path: HostPath) -> Bool {
        let descriptor = open(path.string, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        var request = flock()
        request.l_type = Int16(F_WRLCK)
        request.l_whence = Int16(SEEK_SET)
        return fcntl(descriptor, getLock, &request) == 0 && request.l_type != Int16(F_UNLCK)
    }

    func withDescriptor<Result>(_ body: (Int32) -> Result) -> Result { body(descriptor) }

    deinit {
        // A child that is just being started holds a copy of the descriptor until its exec: closing alone would leave the lock.
        var request = flock()
        request.l_type = Int16(F_UNLCK)
        request.l_whence = Int16(SEEK_SET)
        _ = fcntl(descriptor, FileLock.setLock, &request)
        Glibc.close(descriptor)
    }
}
