import Abstractions
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A share in something of this host that many users of one kind can have at once, and users of two kinds cannot: the processor's
/// virtualization, which KVM and VirtualBox each want whole.
///
/// Each share is a file of its own, locked while the share lives, that says who has it:
/// ```
/// /run/lock/anyvisor-virtualization-kvm-5f0c9a12e7d43b68    "run 3kq0z1h2mm, process 4711"
/// ```
/// One share is given at a time, under a lock on the folder. A file without a lock is left of a killed process, and removed.
/// The locks are those of flock(2), which a reader of another's file can ask for.
public final class HostShare: Sendable {
    /// Where shares are kept: a folder of this host in which every user may make files and remove only their own.
    public static var folder: HostPath { HostFiles.isDirectory("/run/lock") ? "/run/lock" : "/tmp" }

    private let path: HostPath
    private let descriptor: Int32
    private let isHeld = Atomic(true)

    private init(path: HostPath, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    /// Takes a share for the current run; blocks for a moment.
    ///
    /// - Parameters:
    ///   - resource: what is shared: lower case letters and digits.
    ///   - kind: the kind of user: lower case letters and digits.
    /// - Throws: `inUse` that names a holder of another kind; what the host says.
    public static func take(_ resource: String, as kind: String, in folder: HostPath = folder) throws -> HostShare {
        let guarded = open(folder.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard guarded >= 0 else { throw hostError("share", "cannot open \(folder)") }
        defer {
            flock(guarded, LOCK_UN)
            close(guarded)
        }
        guard flock(guarded, LOCK_EX) == 0 else { throw hostError("share", "cannot lock \(folder)") }
        let prefix = "anyvisor-\(resource)-"
        for name in HostFiles.names(in: folder) where name.hasPrefix(prefix) {
            let other = name.dropFirst(prefix.count).prefix { $0 != "-" }
            guard other != kind, let known = livingHolder(folder.appending(name)) else { continue }
            throw BackendError(
                .inUse, "share", "\(other) has this host's \(resource), which \(kind) needs: \(known)", blame: .host)
        }
        let path = folder.appending("\(prefix)\(kind)-\(String(UInt64.random(in: .min ... .max), radix: 16))")
        try RunScope.current?.journal.append(.path(path))
        let descriptor = open(path.string, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw hostError("share", "cannot make \(path)") }
        let share = HostShare(path: path, descriptor: descriptor)
        // The user's mask must not keep others from seeing who has it.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fchmod(descriptor, 0o644) == 0 else {
            throw hostError("share", "cannot lock \(path)")
        }
        let holder = "\(RunScope.current.map { "run \($0.id), " } ?? "")process \(getpid())"
        try HostFiles.writeAll(descriptor, Array(holder.utf8), path)
        return share
    }

    /// What a share's file says, when its lock is held; a file that nobody holds is removed, if that is allowed.
    private static func livingHolder(_ path: HostPath) -> String? {
        let descriptor = open(path.string, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else {
            unlink(path.string)
            return nil
        }
        var bytes = [UInt8](repeating: 0, count: 200)
        let count = read(descriptor, &bytes, bytes.count)
        // Another user wrote it: only what can be read is passed on.
        let text = bytes.prefix(max(0, count)).filter { (0x20..<0x7f).contains($0) }
        return text.isEmpty ? "a process that does not say its name" : String(decoding: text, as: UTF8.self)
    }

    /// Gives it back; once is enough.
    public func release() {
        guard isHeld.exchange(false, ordering: .relaxed) else { return }
        unlink(path.string)
        // A child that is just being started holds a copy of the descriptor until its exec: closing alone would leave the lock.
        flock(descriptor, LOCK_UN)
    }

    deinit {
        release()
        close(descriptor)
    }
}
