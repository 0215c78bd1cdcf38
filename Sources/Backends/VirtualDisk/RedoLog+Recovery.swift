import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension RedoLog {
    static func path(of image: HostPath) -> HostPath { HostPath(image.string + ".redo") }

    /// A name for a log in the making, which nobody else uses.
    static func draftPath(of image: HostPath) -> HostPath {
        let tag = RunScope.current?.id ?? "x"
        return HostPath("\(image.string).redo.\(tag)-\(getpid())-\(UInt32.random(in: 0...UInt32.max))")
    }

    /// Brings an image to the state of its last commit: applies a whole log, removes every other one. The caller holds the
    /// image's write lock, so nobody alive owns what is found.
    ///
    /// - Returns: whether a log was applied.
    /// - Throws: `corrupt` for a log that does not belong to the image, what the host says.
    @discardableResult
    static func recover(_ image: any ImageFile) throws -> Bool {
        try removeDrafts(of: image.path)
        let path = path(of: image.path)
        guard HostFiles.exists(path) else { return false }
        let found = try find(for: image)
        if let (log, contents) = found { try apply(contents, from: log, to: image) }
        guard unlink(path.string) == 0 else { throw hostError("disk.recover", "cannot remove \(path)") }
        try HostFiles.syncDirectory(image.path.parent)
        return found != nil
    }

    /// The committed log of an image; nil when there is none or it is not whole.
    ///
    /// - Throws: `corrupt` for a file that is no log or a log of another image: applying it would destroy this one, and removing
    ///   it would lose what it is. `permissionDenied` for a log that somebody else has put there.
    static func find(for image: any ImageFile) throws -> (log: any ImageFile, contents: Contents)? {
        let path = path(of: image.path)
        guard HostFiles.exists(path) else { return nil }
        let log = try PosixFile(path, O_RDONLY | O_NOFOLLOW)
        try checkOwner(of: log, image.path)
        guard try isOurs(log) else {
            throw foreign(path, "is no redo log of anyvisor, but stands in the place of that of \(image.path)")
        }
        guard let contents = try read(log) else { return nil }
        let length = try image.length()
        guard length >= contents.lengthBefore, length <= contents.lengthAfter else {
            throw foreign(
                path,
                "belongs to an image of \(contents.lengthBefore) to \(contents.lengthAfter) bytes, "
                    + "but \(image.path) has \(length)")
        }
        if let mark = contents.mark, try image.bytes(at: mark.offset, count: mark.bytes.count) != mark.bytes {
            throw foreign(path, "belongs to another image than \(image.path)")
        }
        return (log, contents)
    }

    /// Removes logs in the making; nobody alive may own one.
    static func removeDrafts(of image: HostPath) throws {
        for path in drafts(of: image) {
            guard unlink(path.string) == 0 || errno == ENOENT else {
                throw hostError("disk.recover", "cannot remove \(path)")
            }
        }
    }

    /// The logs in the making beside an image.
    static func drafts(of image: HostPath) -> [HostPath] {
        let prefix = image.name + ".redo."
        return HostFiles.names(in: image.parent).filter { $0.hasPrefix(prefix) }.compactMap { name in
            let parts = name.dropFirst(prefix.count).split(separator: "-")
            let path = image.parent.appending(name)
            guard parts.count == 3, parts.dropFirst().allSatisfy({ UInt64($0) != nil }),
                let file = try? PosixFile(path, O_RDONLY | O_NOFOLLOW), (try? isOurs(file)) == true
            else { return nil }
            return path
        }
    }

    /// Whether a file is a log or the start of one: people have files whose names look like ours.
    private static func isOurs(_ file: any ImageFile) throws -> Bool {
        var start = try file.bytes(at: 0, count: 8)
        // The first write of a draft may be torn.
        while start.last == 0 { start.removeLast() }
        return magic.starts(with: start) || draftMagic.starts(with: start)
    }

    private static func checkOwner(of log: PosixFile, _ image: HostPath) throws {
        var (ofLog, ofImage) = (stat(), stat())
        guard fstat(log.descriptor, &ofLog) == 0, stat(image.string, &ofImage) == 0 else {
            throw hostError("disk.recover", "cannot look at \(log.path)")
        }
        guard [0, geteuid(), ofImage.st_uid].contains(ofLog.st_uid) else {
            throw BackendError(
                .permissionDenied, "disk.recover",
                "the redo log \(log.path) belongs to user \(ofLog.st_uid), who owns neither \(image) nor this process; "
                    + "move it away if you do not trust it", blame: .host)
        }
    }

    private static func foreign(_ path: HostPath, _ what: String) -> BackendError {
        BackendError(
            .corrupt, "disk.recover",
            "\(path) \(what); move it away, or bring back the image that it belongs to", blame: .disk)
    }
}

extension VirtualDisk {
    /// Whether a log, whole or in the making, lies beside an image; its writer may live.
    public static func hasLeftovers(_ image: DiskImage) -> Bool {
        let path = resolved(image).path
        return HostFiles.exists(RedoLog.path(of: path)) || !RedoLog.drafts(of: path).isEmpty
    }

    /// Whether a log in the making of this run lies beside an image; its writer may live.
    public static func hasDrafts(_ image: DiskImage, of run: RunScope) -> Bool {
        let path = resolved(image).path
        return RedoLog.drafts(of: path).contains { $0.name.hasPrefix("\(path.name).redo.\(run.id)-") }
    }
}
