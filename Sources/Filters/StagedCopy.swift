import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// One attempt of a copy out of an image: a private folder beside the target.
struct StagedCopy {
    private let staging: CopyStaging
    private let target: HostPath
    private let folder: HostPath

    /// Where the backend writes.
    var place: HostPath { folder.appending("copy") }

    /// - Throws: `alreadyExists` when the target exists, `notFound` when its folder does not.
    init(_ target: HostPath, _ staging: CopyStaging) throws {
        self.staging = staging
        self.target = target
        guard !StagedCopy.exists(target) else { throw StagedCopy.failure("cannot make \(target)", EEXIST) }
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        let name = ".anyvisor-part-" + String((0..<12).compactMap { _ in alphabet.randomElement() })
        folder = target.parent.appending(name)
        try staging.announce(folder)
        guard mkdir(folder.string, 0o700) == 0 else {
            throw StagedCopy.failure("cannot make a folder beside \(target)", errno)
        }
    }

    /// Moves the finished copy to the target.
    func finish() throws {
        guard !StagedCopy.exists(target) else { throw StagedCopy.failure("cannot make \(target)", EEXIST) }
        // A copy whose top was refused (a link in an untrusted copy) made nothing, and that is its result.
        if StagedCopy.exists(place), rename(place.string, target.string) != 0 {
            throw StagedCopy.failure("cannot make \(target)", errno)
        }
        rmdir(folder.string)
    }

    /// Removes whatever the attempt made.
    func discard() throws { try staging.remove(folder) }

    private static func exists(_ path: HostPath) -> Bool {
        var info = Glibc.stat()
        return lstat(path.string, &info) == 0
    }

    private static func failure(_ what: String, _ number: Int32) -> BackendError {
        let code: BackendError.Code =
            switch number {
            case EEXIST: .alreadyExists
            case ENOENT, ENOTDIR: .notFound
            case EACCES, EPERM, EROFS: .permissionDenied
            case ENOSPC, EDQUOT: .noSpace
            default: .internal
            }
        let text = String(cString: strerror(number))
        return BackendError(
            code, "filesystem.copyOut", "\(what): \(text)", blame: .host,
            native: .init(domain: "errno", code: Int(number), text: text))
    }
}
