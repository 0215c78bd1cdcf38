import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Open-file-description locks on an image, in peace with QEMU's.
///
/// QEMU holds read locks on bytes 100 to 103 (what it does) and 200 to 203 (what it does not share); byte 101 stands for
/// writing (`raw_apply_lock_bytes` in QEMU's block/file-posix.c). A writer of ours locks the whole file, which collides with
/// any of them. A reader of ours holds a read lock on byte 300, so that no writer starts beside it, and checks byte 101.
enum ImageLock {
    private static let readerByte: off_t = 300
    private static let qemuWriteByte: off_t = 101
    private static let setLock: Int32 = 37
    private static let getLock: Int32 = 36

    /// Takes the lock for the descriptor's life.
    ///
    /// - Throws: `inUse` that names the process that holds the image, where it can be seen.
    static func take(_ file: PosixFile, _ mode: AccessMode) throws {
        switch mode {
        case .readWrite:
            guard set(file, F_WRLCK, 0, 0) else { throw held(file) }
        case .readOnly:
            guard isFree(file, F_WRLCK, qemuWriteByte, 1), set(file, F_RDLCK, readerByte, 1) else { throw held(file) }
        }
    }

    private static func request(_ type: Int32, _ start: off_t, _ length: off_t) -> flock {
        var request = flock()
        request.l_type = Int16(type)
        request.l_whence = Int16(SEEK_SET)
        request.l_start = start
        request.l_len = length
        return request
    }

    private static func set(_ file: PosixFile, _ type: Int32, _ start: off_t, _ length: off_t) -> Bool {
        var request = request(type, start, length)
        return fcntl(file.descriptor, setLock, &request) == 0
    }

    private static func isFree(_ file: PosixFile, _ type: Int32, _ start: off_t, _ length: off_t) -> Bool {
        // The kernel refuses a write lock on a descriptor that cannot write, but answers the question.
        var request = request(type, start, length)
        return fcntl(file.descriptor, getLock, &request) != 0 || request.l_type == Int16(F_UNLCK)
    }

    private static func held(_ file: PosixFile) -> BackendError {
        let who = holder(of: file).map { " by \($0)" } ?? ""
        return BackendError(
            .inUse, "disk.open", "image \(file.path) is held open\(who); stop that first", blame: .caller)
    }

    /// The name and number of another process that has the file open.
    private static func holder(of file: PosixFile) -> String? {
        var own = stat()
        guard fstat(file.descriptor, &own) == 0 else { return nil }
        for name in HostFiles.names(in: "/proc") {
            guard let pid = Int32(name), pid != getpid() else { continue }
            let folder = HostPath("/proc/\(pid)/fd")
            for descriptor in HostFiles.names(in: folder) {
                var info = stat()
                guard stat(folder.appending(descriptor).string, &info) == 0, info.st_dev == own.st_dev,
                    info.st_ino == own.st_ino
                else { continue }
                let command = (try? HostFiles.readText(HostPath("/proc/\(pid)/comm"))) ?? ""
                return "process \(pid) (\(command.prefix { $0 != "\n" }))"
            }
        }
        return nil
    }
}
