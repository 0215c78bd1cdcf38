import Abstractions
import CHost

#if canImport(Glibc)
    import Glibc
#endif

/// A loop device of the kernel: a block device over a file, see loop(4).
public struct LoopDevice: Sendable, Hashable {
    /// The device, for example `/dev/loop3`.
    public let device: HostPath
    /// The file behind it, as the kernel knows it.
    public let backingFile: HostPath

    /// All loop devices in use.
    public static func all() -> [LoopDevice] {
        HostFiles.names(in: "/sys/block").filter { $0.hasPrefix("loop") }.compactMap { name in
            guard let text = try? HostFiles.readText(HostPath("/sys/block/\(name)/loop/backing_file")) else {
                return nil
            }
            let file = text.hasSuffix("\n") ? String(text.dropLast()) : text
            return LoopDevice(device: HostPath("/dev/\(name)"), backingFile: HostPath(file))
        }
    }

    /// Lets the file go; at once when nobody uses the device, else with its last user.
    public func release() {
        let descriptor = open(device.string, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        av_loop_release(descriptor)
        close(descriptor)
    }

    /// Puts a free device over a file, hands the device's path to `body`, and lets the device go with its last user.
    ///
    /// The kernel itself frees the device when `body` has mounted it and the mount is gone, or when this process dies: no loop
    /// device outlives both.
    /// - Throws: `unavailable` when the host has no loop devices, what the host says, what `body` throws.
    public static func attached<Value>(
        to file: Int32, name: HostPath, readOnly: Bool, _ body: (HostPath) throws -> Value
    ) throws -> Value {
        let control = open("/dev/loop-control", O_RDWR | O_CLOEXEC)
        guard control >= 0 else {
            throw BackendError(
                .unavailable, "loop", "/dev/loop-control cannot be opened, `modprobe loop` as root makes it",
                blame: .host, native: .init(domain: "errno", code: Int(errno), text: String(cString: strerror(errno))))
        }
        defer { close(control) }
        // Between asking for a free device and taking it another process may take it: then the next one.
        for _ in 0..<64 {
            let number = av_loop_free(control)
            guard number >= 0 else { throw hostError("loop", "no free loop device for \(name)") }
            let path = HostPath("/dev/loop\(number)")
            let device = open(path.string, (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC)
            guard device >= 0 else { throw hostError("loop", "cannot open \(path)") }
            defer { close(device) }
            if name.string.withCString({ av_loop_configure(device, file, $0, readOnly ? 1 : 0) }) == 0 {
                return try body(path)
            }
            guard errno == EBUSY else { throw hostError("loop", "cannot put \(path) over \(name)") }
        }
        throw BackendError(.unavailable, "loop", "every loop device is taken", blame: .host, retry: .backoff)
    }
}
