import Abstractions
import BackendSupport
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Open-file-description locks on an image, in peace with QEMU's.
///
/// QEMU holds read locks on bytes 100 to 103 (what it does: 100 read, 101 write) and 200 to 203 (what it does not share), and
/// then looks whether anybody holds the counterpart (`raw_apply_lock_bytes` in QEMU's block/file-posix.c). A writer of ours
/// locks the whole file, which collides with any of them. A reader of ours says what QEMU's readers say, and holds byte 300, so
/// that no writer, QEMU's or ours, starts beside it.
enum ImageLock {
    private static let qemuWriteByte: off_t = 101
    private static let ourByte: off_t = 300
    private static let readerBytes: [off_t] = [100, 201, 203, ourByte]
    private static let setLock: Int32 = 37
    private static let getLock: Int32 = 36

    /// Takes the lock for the descriptor's life.
    ///
    /// - Throws: `inUse` that names the process that holds the image, where it can be seen.
    static func take(_ file: PosixFile, _ mode: AccessMode) throws {
        try settle(file, within: .seconds(1), { $0 == nil }) { attempt(file, mode) }
    }

    /// Tries again while nobody holds the image who will not let go by himself: a process that was killed has no descriptors to see
    /// any more, and its locks for a moment yet.
    private static func settle(
        _ file: PosixFile, within limit: Duration, _ isPassing: (_ holder: String?) -> Bool,
        _ attempt: () -> BackendError?
    ) throws {
        guard let problem = attempt() else { return }
        guard problem.code == .inUse, isPassing(holder(of: file)),
            eventually(within: limit, { attempt() == nil })
        else { throw problem }
    }

    /// Why the lock is not to be had now; nil when it was taken.
    private static func attempt(_ file: PosixFile, _ mode: AccessMode) -> BackendError? {
        switch mode {
        case .readWrite:
            return set(file, F_WRLCK, 0, 0) ? nil : refusal(file)
        case .readOnly:
            // First lock, then look: of two that start at once, one sees the other.
            for byte in readerBytes where !set(file, F_RDLCK, byte, 1) { return refusal(file) }
            return isFree(file, F_WRLCK, qemuWriteByte, 1) ? nil : held(file)
        }
    }

    /// Takes the lock of a file that a QEMU of ours will open, which then takes QEMU's own ones: byte 300 alone is ours.
    ///
    /// - Throws: `inUse`.
    static func takeBesideQEMU(_ file: PosixFile, _ mode: AccessMode) throws {
        // A writer is alone; a reader minds only writers.
        let (first, count): (off_t, off_t) = mode == .readWrite ? (100, 104) : (qemuWriteByte, 1)
        // A qemu-nbd that was ours dies with its user, but a moment later.
        try settle(file, within: .seconds(5), { $0 == nil || $0?.hasSuffix("(qemu-nbd)") == true }) {
            guard set(file, mode == .readWrite ? F_WRLCK : F_RDLCK, ourByte, 1) else { return refusal(file) }
            return isFree(file, F_WRLCK, first, count) ? nil : held(file)
        }
    }

    /// VirtualBox takes no lock: an image that one of its processes has open is in use. The layers below a machine's disk it
    /// opens only to read, and they may be read beside it.
    ///
    /// - Throws: `inUse`.
    static func refuseVirtualBox(_ paths: [HostPath], _ mode: AccessMode) throws {
        let users = processes().filter { virtualBoxPrograms.contains($0.name) }
        guard !users.isEmpty else { return }
        for path in paths {
            guard let file = identity(path) else { continue }
            for user in users {
                let held = descriptors(of: file, in: user.pid)
                guard held.contains(where: { mode == .readWrite || mayWrite($0, in: user.pid) }) else { continue }
                throw inUse(path, "process \(user.pid) (\(user.name))")
            }
        }
    }

    private static let virtualBoxPrograms: Set<String> = [
        "VirtualBox", "VirtualBoxVM", "VBoxHeadless", "VBoxSVC", "VBoxManage", "VBoxSDL", "vbox-img", "vboximg-mount",
    ]

    private static func request(_ type: Int32, _ start: off_t, _ length: off_t) -> flock {
        var request = flock()
        request.l_type = Int16(type)
        request.l_whence = Int16(SEEK_SET)
        request.l_start = start
        request.l_len = length
        return request
    }

    /// Lets go of whatever the descriptor has locked.
    static func release(_ file: PosixFile) { _ = set(file, F_UNLCK, 0, 0) }

    private static func set(_ file: PosixFile, _ type: Int32, _ start: off_t, _ length: off_t) -> Bool {
        var request = request(type, start, length)
        return fcntl(file.descriptor, setLock, &request) == 0
    }

    private static func isFree(_ file: PosixFile, _ type: Int32, _ start: off_t, _ length: off_t) -> Bool {
        // The kernel refuses a write lock on a descriptor that cannot write, but answers the question.
        var request = request(type, start, length)
        return fcntl(file.descriptor, getLock, &request) != 0 || request.l_type == Int16(F_UNLCK)
    }

    /// What a failed lock means, told by `errno`.
    private static func refusal(_ file: PosixFile) -> BackendError {
        if errno == EAGAIN || errno == EACCES { return held(file) }
        return hostError("disk.open", "cannot lock image \(file.path); its file system must know file locks")
    }

    private static func held(_ file: PosixFile) -> BackendError {
        inUse(file.path, holder(of: file))
    }

    private static func inUse(_ path: HostPath, _ who: String?) -> BackendError {
        BackendError(
            .inUse, "disk.open",
            "image \(path) is held open\(who.map { " by \($0)" } ?? ""); stop that first (--force-stale reads what is there)",
            blame: .caller)
    }

    /// The process whose descriptor has a lock on the file, or at least has it open.
    private static func holder(of file: PosixFile) -> String? {
        var candidate: String?
        guard let image = identity(file.path) else { return nil }
        for process in processes() {
            for descriptor in descriptors(of: image, in: process.pid)
            where process.pid != getpid() || descriptor != "\(file.descriptor)" {
                let name =
                    process.pid == getpid() ? "this process itself" : "process \(process.pid) (\(process.name))"
                let info = try? HostFiles.readText(HostPath("/proc/\(process.pid)/fdinfo/\(descriptor)"))
                if info?.contains("\nlock:") == true { return name }
                candidate = candidate ?? name
            }
        }
        return candidate
    }

    private static func processes() -> [(pid: Int32, name: String)] {
        HostFiles.names(in: "/proc").compactMap { Int32($0) }.map { pid in
            let name = (try? HostFiles.readText(HostPath("/proc/\(pid)/comm"))) ?? ""
            return (pid, String(name.prefix { $0 != "\n" }))
        }
    }

    /// The numbers of a process's descriptors for a file, as far as this user may see them.
    private static func descriptors(of file: stat, in pid: Int32) -> [String] {
        let folder = HostPath("/proc/\(pid)/fd")
        return HostFiles.names(in: folder).filter { name in
            var info = stat()
            return stat(folder.appending(name).string, &info) == 0 && info.st_dev == file.st_dev
                && info.st_ino == file.st_ino
        }
    }

    /// Whether a descriptor is open for writing; one that is already closed is not.
    private static func mayWrite(_ descriptor: String, in pid: Int32) -> Bool {
        // proc(5): "flags:" and the flags of open(2) in octal, of which the last two bits are the access mode.
        let info = (try? HostFiles.readText(HostPath("/proc/\(pid)/fdinfo/\(descriptor)"))) ?? ""
        let flags = info.split(separator: "\n").first { $0.hasPrefix("flags:") }
        return flags?.last.flatMap(\.wholeNumberValue).map { $0 & 3 != 0 } ?? false
    }

    private static func identity(_ path: HostPath) -> stat? {
        var info = stat()
        return stat(path.string, &info) == 0 ? info : nil
    }
}
