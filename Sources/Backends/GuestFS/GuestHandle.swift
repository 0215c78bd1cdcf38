import Abstractions
import BackendSupport
import CGuestfs
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A libguestfs handle; all calls but `cancel` come from one thread, and block.
///
/// The end of what the appliance's console and QEMU said goes into each error whose cause the library does not tell.
final class GuestHandle: @unchecked Sendable {
    // Confined to the session's worker, but for `cancel`, which the library allows from any thread, and the log, which has a lock.
    let pointer: OpaquePointer
    private let log = Mutex<[UInt8]>([])
    /// Whether what is mounted keeps owners and modes.
    var keepsOwners = true
    /// A sign for every call that returned, every line that the appliance said and every step of a transfer.
    let activity = ActivityMeter()

    /// Makes a handle; starts nothing.
    ///
    /// - Parameters:
    ///   - environment: what the library may see of it.
    ///   - verbose: the appliance tells all it does, two lines for every 8 KiB: to find out why it does not start.
    init(environment: [String: String], verbose: Bool = false) throws {
        guard let pointer = av_guestfs_create() else {
            throw BackendError(.unavailable, "guestfs", "libguestfs makes no handle", blame: .host)
        }
        self.pointer = pointer
        prepareThread()
        withStrings(environment.map { "\($0.key)=\($0.value)" }) { _ = guestfs_parse_environment_list(pointer, $0) }
        guestfs_set_verbose(pointer, verbose ? 1 : 0)
        guestfs_set_event_callback(
            pointer,
            { _, opaque, _, _, _, text, count, _, _ in
                guard let opaque, let text else { return }
                let handle = Unmanaged<GuestHandle>.fromOpaque(opaque).takeUnretainedValue()
                handle.keep(UnsafeRawBufferPointer(start: text, count: count))
            }, av_guestfs_log_events(), 0, Unmanaged.passUnretained(self).toOpaque())
        guestfs_set_event_callback(
            pointer,
            { _, opaque, _, _, _, _, _, _, _ in
                guard let opaque else { return }
                Unmanaged<GuestHandle>.fromOpaque(opaque).takeUnretainedValue().activity.note()
            }, av_guestfs_progress_event(), 0, Unmanaged.passUnretained(self).toOpaque())
    }

    /// Frees the handle; kills the appliance if it still runs.
    func close() { guestfs_close(pointer) }

    /// Has to be called by each thread that uses the handle, which would print every error otherwise.
    func prepareThread() { guestfs_set_error_handler(pointer, nil, nil) }

    /// Interrupts a transfer under way; for any thread.
    func cancel() { guestfs_user_cancel(pointer) }

    /// The end of what library and appliance said.
    var logTail: String { String(decoding: log.withLock { $0 }, as: UTF8.self) }

    /// Drops what was said so far.
    func forgetLog() { log.withLock { $0 = [] } }

    /// Whether the appliance answers.
    var isReady: Bool { guestfs_is_ready(pointer) == 1 }

    private func keep(_ bytes: UnsafeRawBufferPointer) {
        activity.note()
        log.withLock { $0 = Array(($0 + bytes).suffix(2048)) }
    }

    // MARK: - Errors

    /// - Throws: the library's error when the result is not 0.
    func check(_ result: Int32, _ operation: String, _ what: String) throws {
        activity.note()
        guard result == 0 else { throw failure(operation, what) }
    }

    /// - Throws: the library's error when there is no value.
    func check<Value>(_ result: Value?, _ operation: String, _ what: String) throws -> Value {
        activity.note()
        guard let result else { throw failure(operation, what) }
        return result
    }

    /// The library's last error; to be asked for at once, by the thread that called.
    func failure(_ operation: String, _ what: String) -> BackendError {
        let number = guestfs_last_errno(pointer)
        let text = guestfs_last_error(pointer).map { String(cString: $0) } ?? "no reason given"
        let native = BackendError.NativeError(domain: "libguestfs", code: Int(number), text: text)
        guard isReady else {
            return BackendError(
                .crashed, operation, "\(what): the appliance is gone", retry: .reopen, native: native,
                evidence: ["appliance": logTail])
        }
        var error = hostError(operation, what, errno: number)
        if number == 0 {
            error.code = GuestHandle.code(ofToolText: text)
            error.message = "\(what): \(GuestHandle.complaint(in: text))"
        }
        if [EIO, EUCLEAN, EROFS].contains(number) { error.code = .internal }
        error.blame = error.code == .noSpace ? .disk : .backend
        error.native = native
        if error.code == .internal {
            error.evidence["appliance"] = logTail
            error.evidence["kernel"] = kernelComplaint()
        }
        return error
    }

    /// Why a start failed: QEMU, supermin and the appliance say it in the log, the library often only that it did.
    func launchFailure() -> BackendError {
        let text = guestfs_last_error(pointer).map { String(cString: $0) } ?? "no reason given"
        let marks = ["qemu-system", "supermin: ", "Kernel panic", "cannot open", "rror:"]
        let lines = logTail.split { $0 == "\n" || $0 == "\r" || $0 == "\r\n" }.map(String.init)
        let cause = lines.last { line in marks.contains { line.contains($0) } && !line.contains(" -") }
        return BackendError(
            .crashed, "disk.filesystem", "the appliance did not start: \(cause ?? GuestHandle.complaint(in: text))",
            retry: .reopen,
            native: .init(domain: "libguestfs", code: Int(guestfs_last_errno(pointer)), text: text),
            evidence: ["appliance": logTail])
    }

    /// The line that tells the cause, among those that only say that there is one.
    static func complaint(in text: String) -> String {
        let noise = [
            "dmesg(1) may have", "Exiting with failure status", "Error is not recoverable", "subcommand failed",
        ]
        let lines = text.split(separator: "\n").map { line in
            var line = String(line.drop { $0 == " " })
            // `mount_vfs: mount exited with status 32: mount: /sysroot: wrong fs type, …`
            for mark in ["exited with status", "/sysroot: ", "on directory: "] {
                guard let found = line.firstRange(of: mark) else { continue }
                let rest = line[found.upperBound...]
                if mark != "exited with status" {
                    line = String(rest)
                } else if let colon = rest.firstRange(of: ": ") {
                    line = String(rest[colon.upperBound...])
                }
            }
            return line
        }
        return lines.first { line in !line.isEmpty && !noise.contains { line.contains($0) } } ?? text
    }

    /// What a tool in the appliance (tar, ln, mkdir) means; it tells no number.
    private static func code(ofToolText text: String) -> BackendError.Code {
        let meanings: [(String, BackendError.Code)] = [
            ("No space left", .noSpace), ("Wrote only", .noSpace), ("File exists", .alreadyExists),
            ("No such file or directory", .notFound), ("Not a directory", .notFound),
            ("was not a directory", .invalidArgument), ("File name too long", .invalidArgument),
            ("Too many levels of symbolic links", .invalidArgument), ("Operation not permitted", .permissionDenied),
        ]
        return meanings.first { text.contains($0.0) }?.1 ?? .internal
    }
}

/// Runs `body` with a null-terminated array of C strings.
func withStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) throws -> Result
) rethrows -> Result {
    let copies: [UnsafeMutablePointer<CChar>?] = strings.map { HostNames.withCString($0) { strdup($0) } } + [nil]
    defer { copies.forEach { free($0) } }
    return try copies.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { fatalError("an array with one element has a base address") }
        return try body(base)
    }
}
