import Abstractions
import BackendSupport
import Clibvirt
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What libvirt wants once in a process before its first connection: logging, errors and the thread of its events.
enum LibvirtRuntime {
    /// Starts it; every later call does nothing.
    ///
    /// - Throws: `unavailable` when libvirt cannot be initialized.
    static func start(log: HostPath?) throws {
        // The environment is libvirt's only door for this, and it is read once, by virInitialize.
        setenv("LIBVIRT_LOG_OUTPUTS", log.map { "3:file:\($0)" } ?? "4:stderr", 0)
        try started.get()
    }

    private static let started: Result<Void, BackendError> = {
        // Without this every error is printed to standard error, also those that are expected.
        virSetErrorFunc(nil) { _, _ in }
        guard virInitialize() == 0, virEventRegisterDefaultImpl() == 0 else {
            return .failure(libvirtError("libvirt.start", "libvirt cannot be initialized"))
        }
        startThread { while true { if virEventRunDefaultImpl() < 0 { usleep(100_000) } } }
        return .success(())
    }()

    /// The library's version, for example `9.0.0`.
    static var version: String {
        var number: UInt = 0
        virGetVersion(&number, nil, nil)
        return text(number)
    }

    /// A version as libvirt counts: a million for the major, a thousand for the minor number.
    static func text(_ number: UInt) -> String {
        "\(number / 1_000_000).\(number / 1000 % 1000).\(number % 1000)"
    }
}
