import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Makes a copied-out file or tree on the host, whatever hostile image it comes from.
///
/// ```
///   copy(to:) --> enterDirectory ... add ... leaveDirectory --> the target appears whole
///                       `--- throws ---> nothing is left
/// ```
/// Every step is relative to a folder's descriptor and never follows a link, so nothing lands outside the target. The tree grows
/// in a private folder beside the target and is renamed onto it at the end. One thread at a time.
public final class SafeTreeWriter {
    private let target: HostPath
    private let parent: Int32
    private let temporary: String
    private var stack: FolderStack?
    private var folderStats: [FileStat] = []
    private var links: [FileIdentity: [String]] = [:]
    private var ledger: CopyLedger
    private let cancellation: CancellationFlag
    private let isRoot = geteuid() == 0
    private var hasTop = false

    /// Copies to a target that does not exist yet.
    ///
    /// - Parameter body: hands over the tree from its top, parents first.
    /// - Returns: what was copied, and what was refused.
    /// - Throws: `alreadyExists`, `notFound` for the target's folder, `noSpace`, `CancellationError`, what `body` throws; then
    ///   nothing of the copy is left.
    public static func copy(
        to target: HostPath, policy: CopyPolicy, progress: ProgressSink = .none, totalBytes: Int64? = nil,
        cancellation: CancellationFlag = CancellationFlag(), _ body: (SafeTreeWriter) throws -> Void
    ) throws -> CopyReport {
        let writer = try SafeTreeWriter(
            target, CopyLedger(policy: policy, progress: progress, totalBytes: totalBytes), cancellation)
        do {
            try body(writer)
            return try writer.finish()
        } catch {
            try? writer.abort()
            throw error
        }
    }

    private init(_ target: HostPath, _ ledger: CopyLedger, _ cancellation: CancellationFlag) throws {
        self.target = target
        self.ledger = ledger
        self.cancellation = cancellation
        guard !HostFiles.exists(target), HostNames.objection(to: target.name) == nil, target.name != "/" else {
            throw hostError("copyOut", "cannot make \(target)", errno: EEXIST)
        }
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        temporary = ".anyvisor-part-" + String((0..<12).compactMap { _ in alphabet.randomElement() })
        parent = open(target.parent.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { throw hostError("copyOut", "cannot open folder \(target.parent)") }
        do {
            try RunScope.current?.journal.append(.path(HostFiles.absolute(target.parent.appending(temporary))))
        } catch {
            Glibc.close(parent)
            throw error
        }
    }

    deinit { Glibc.close(parent) }

    // MARK: - The tree

    /// Begins a folder; false when it is refused: its content must then be left out, and `leaveDirectory` not called.
    ///
    /// The first call makes the top, whatever `name` says.
    /// - Throws: what the host says.
    public func enterDirectory(_ name: String, _ stat: FileStat) throws -> Bool {
        try cancellation.check()
        let depth = hasTop ? (stack?.depth ?? 0) + 1 : 0
        if let reason = objection(to: name) ?? ledger.admit(stat, depth: depth) { return skip(name, reason) }
        let (folder, hostName) = try place(name)
        guard HostNames.withCString(hostName, { mkdirat(folder, $0, 0o700) }) == 0 else {
            if let reason = CopyLedger.refusal(errno) { return skip(name, reason) }
            throw hostError("copyOut", "cannot make folder \(name) below \(target)")
        }
        if hasTop {
            try stack?.enter(hostName)
        } else {
            stack = FolderStack(root: try HostNames.openFolder(parent, hostName))
        }
        hasTop = true
        folderStats.append(stat)
        return true
    }

    /// Ends the folder begun last.
    public func leaveDirectory() throws {
        guard let stack, let stat = folderStats.popLast() else { return }
        // The top stays private until the whole tree stands.
        if stack.depth > 0 {
            try setMetadata(try stack.current(), stat)
            stack.leave()
        } else {
            folderStats = [stat]
        }
    }

    /// Adds anything but a folder to the current folder, or refuses it.
    ///
    /// - Parameters:
    ///   - identity: which file it is, when it may have several names.
    ///   - content: writes a regular file's bytes; not called for anything else, nor for a second name of the same file.
    /// - Throws: `noSpace`, `CancellationError`, what `content` throws.
    public func add(
        _ name: String, _ stat: FileStat, identity: FileIdentity? = nil, content: (FileSink) throws -> Void
    ) throws {
        try cancellation.check()
        if let reason = objection(to: name) ?? ledger.objection(to: stat.kind) { return refuse(name, reason) }
        if let identity, ledger.isFaithful, let first = links[identity] { return try link(name, to: first) }
        if let reason = ledger.admit(stat, depth: 0) { return refuse(name, reason) }
        if stat.kind == .symlink {
            try addLink(name, stat)
        } else {
            guard try addFile(name, stat, content) else { return }
        }
        if let identity, stat.links > 1, hasTop, let stack { links[identity] = stack.names + [name] }
        hasTop = true
    }

    /// Notes that the caller left something out, in the current folder.
    public func refuse(_ name: String, _ reason: String) {
        ledger.refuse((stack?.names ?? []) + [hasTop ? name : "."], reason)
    }

    private func skip(_ name: String, _ reason: String) -> Bool {
        refuse(name, reason)
        return false
    }

    private func objection(to name: String) -> String? { hasTop ? HostNames.objection(to: name) : nil }

    /// The folder and name under which the host gets it: the private name for the top.
    private func place(_ name: String) throws -> (Int32, String) {
        guard hasTop else { return (parent, temporary) }
        guard let stack else { throw BackendError(.invalidState, "copyOut", "the top of the copy is not a folder") }
        return (try stack.current(), name)
    }

    // MARK: - Files and links

    private func addFile(_ name: String, _ stat: FileStat, _ content: (FileSink) throws -> Void) throws -> Bool {
        let (folder, hostName) = try place(name)
        let descriptor = HostNames.open(folder, hostName, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        guard descriptor >= 0 else {
            if let reason = CopyLedger.refusal(errno) { return skip(name, reason) }
            throw hostError("copyOut", "cannot make file \(name) below \(target)")
        }
        defer { Glibc.close(descriptor) }
        let sink = FileSink(descriptor: descriptor, size: stat.size.bytes) { step in
            try self.cancellation.check()
            self.ledger.advance(step)
        }
        do {
            // The size first: the largest one the host cannot hold is then refused before a byte is written.
            guard ftruncate(descriptor, off_t(stat.size.bytes)) == 0 else {
                throw errno == EFBIG || errno == EINVAL
                    ? FileRefusal(reason: "larger than the host's file system takes")
                    : hostError("copyOut", "cannot make file \(name) below \(target)")
            }
            try content(sink)
        } catch let refusal as FileRefusal {
            _ = HostNames.withCString(hostName) { unlinkat(folder, $0, 0) }
            return skip(name, refusal.reason)
        }
        ledger.finishFile(stat, rest: sink.rest)
        try setMetadata(descriptor, stat)
        return true
    }

    private func addLink(_ name: String, _ stat: FileStat) throws {
        let (folder, hostName) = try place(name)
        let made = HostNames.withCString(hostName) { cName in
            HostNames.withCString(stat.target ?? "") { symlinkat($0, folder, cName) }
        }
        guard made == 0 else {
            if let reason = CopyLedger.refusal(errno) { return refuse(name, reason) }
            throw hostError("copyOut", "cannot make link \(name) below \(target)")
        }
        HostNames.withCString(hostName) { cName in
            if isRoot { fchownat(folder, cName, stat.uid, stat.gid, AT_SYMLINK_NOFOLLOW) }
            var times = SafeTreeWriter.times(stat)
            utimensat(folder, cName, &times, AT_SYMLINK_NOFOLLOW)
        }
    }

    private func link(_ name: String, to first: [String]) throws {
        guard let stack, let firstName = first.last else { return }
        let folder = try stack.open(Array(first.dropLast()))
        defer { Glibc.close(folder) }
        let current = try stack.current()
        let made = HostNames.withCString(firstName) { from in
            HostNames.withCString(name) { linkat(folder, from, current, $0, 0) }
        }
        guard made == 0 else {
            if let reason = CopyLedger.refusal(errno) { return refuse(name, reason) }
            throw hostError("copyOut", "cannot make hard link \(name) below \(target)")
        }
        ledger.finishLink()
    }

    /// Owner first, since a change of owner takes the setuid bit away; times last.
    private func setMetadata(_ descriptor: Int32, _ stat: FileStat) throws {
        guard ledger.isFaithful else {
            let mode: mode_t = stat.kind == .directory || stat.mode & 0o111 != 0 ? 0o755 : 0o644
            guard fchmod(descriptor, mode) == 0 else { throw hostError("copyOut", "cannot set a mode below \(target)") }
            return
        }
        // Without the owner a setuid bit would lend the rights of somebody else: ours.
        if isRoot, fchown(descriptor, stat.uid, stat.gid) != 0 {
            throw hostError("copyOut", "cannot set an owner below \(target)")
        }
        guard fchmod(descriptor, mode_t(stat.mode & (isRoot ? 0o7777 : 0o1777))) == 0 else {
            throw hostError("copyOut", "cannot set a mode below \(target)")
        }
        var times = SafeTreeWriter.times(stat)
        futimens(descriptor, &times)
    }

    private static func times(_ stat: FileStat) -> [timespec] {
        let (seconds, nanoseconds) = stat.modifiedNanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let time =
            nanoseconds < 0
            ? timespec(tv_sec: Int(seconds - 1), tv_nsec: Int(nanoseconds + 1_000_000_000))
            : timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
        return [time, time]
    }

    // MARK: - The end

    private func finish() throws -> CopyReport {
        try cancellation.check()
        guard hasTop else { return ledger.finish() }
        if let stack, let stat = folderStats.last { try setMetadata(try stack.current(), stat) }
        let moved = target.name.withCString { name in
            // 1 is RENAME_NOREPLACE; file systems without it say EINVAL.
            let result = av_renameat2(parent, temporary, parent, name, 1)
            guard result != 0, errno == EINVAL || errno == ENOSYS else { return result }
            var info = Glibc.stat()
            guard fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0 else {
                errno = EEXIST
                return -1
            }
            return renameat(parent, temporary, parent, name)
        }
        guard moved == 0 else { throw hostError("copyOut", "cannot make \(target)") }
        return ledger.finish()
    }

    private func abort() throws {
        stack = nil
        try TreeRemover.remove(temporary, below: parent)
    }
}
