import Abstractions
import CGuestfs

#if canImport(Glibc)
    import Glibc
#endif

extension GuestHandle {
    /// Mounts a disk as `/`; one that was plugged in just now is waited for.
    ///
    /// - Throws: `corrupt` with what mount and the appliance's kernel say, `unsupported` for a file system that the appliance has no
    ///   driver for, `crashed`.
    func mount(_ device: String, _ type: String, _ options: String, _ what: String) throws {
        let end = ContinuousClock.now + .seconds(20)
        while guestfs_mount_vfs(pointer, options, type, device, "/") != 0 {
            var error = failure("disk.filesystem", "\(what) cannot be mounted")
            if isMissing(error, device), .now < end {
                usleep(20_000)
                continue
            }
            guard error.code != .crashed else { throw error }
            let text = error.native?.text ?? ""
            error.code = text.contains("unknown filesystem type") ? .unsupported : .corrupt
            if let complaint = kernelComplaint() { error.message += "; the appliance's kernel says: \(complaint)" }
            throw error
        }
    }

    /// Waits until the appliance's kernel has a disk that was plugged in.
    ///
    /// - Throws: `crashed`, `internal` when it does not come.
    func waitFor(_ device: String) throws {
        let end = ContinuousClock.now + .seconds(20)
        while guestfs_blockdev_getsize64(pointer, device) < 0 {
            let error = failure("disk.volumes", "the appliance does not see the disk")
            guard isMissing(error, device), .now < end else { throw error }
            usleep(20_000)
        }
    }

    private func isMissing(_ error: BackendError, _ device: String) -> Bool {
        guard error.code != .crashed, let native = error.native, native.text.contains(device) else { return false }
        return native.code == Int(ENOENT) || native.text.contains("No such file or directory")
            || native.text.contains("does not exist")
    }

    /// What the kernel said last since a disk was plugged in; nil when it said nothing more.
    func kernelComplaint() -> String? {
        guard let text = guestfs_dmesg(pointer) else { return nil }
        defer { free(text) }
        let lines = String(cString: text).split(separator: "\n").map { line in
            // `[   42.327242] text`
            line.prefix(1) == "[" ? String(line.drop { $0 != "]" }.dropFirst(2)) : String(line)
        }
        let start = lines.lastIndex { $0.contains("Attached SCSI disk") }.map { $0 + 1 } ?? 0
        // Of a block that it finds damaged the kernel prints the bytes, `00000060: 00 00 …`.
        let said = lines[start...].filter {
            !$0.contains("ounting") && !$0.contains("mounted") && !$0.isEmpty && $0.dropFirst(8).first != ":"
        }
        return said.isEmpty ? nil : said.suffix(3).joined(separator: "; ")
    }

    /// Runs a command line in the appliance.
    func run(_ command: String) throws {
        let output = try withStrings([command]) { words in
            try check(guestfs_debug(pointer, "sh", words), "appliance", "cannot run '\(command)'")
        }
        free(output)
    }

    /// A text of the library, which is freed.
    func string(_ text: UnsafeMutablePointer<CChar>?, _ operation: String, _ what: String) throws -> String {
        let text = try check(text, operation, what)
        defer { free(text) }
        return String(cString: text)
    }

    /// A list of texts of the library, which is freed.
    func strings(
        _ list: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ operation: String, _ what: String
    ) throws -> [String] {
        let list = try check(list, operation, what)
        defer { free(list) }
        var texts: [String] = []
        while let text = list[texts.count] {
            texts.append(String(cString: text))
            free(text)
        }
        return texts
    }
}
