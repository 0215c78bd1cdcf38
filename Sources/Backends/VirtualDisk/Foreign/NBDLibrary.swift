import Abstractions
import CNBD

#if canImport(Glibc)
    import Glibc
#endif

/// The functions of libnbd that are used here, loaded when the first image needs them.
///
/// Not linked: most images need none of it, and the `anyvisor` program links no backend's library.
struct NBDLibrary: Sendable {
    typealias Handle = OpaquePointer
    let create: @convention(c) @Sendable () -> Handle?
    let close: @convention(c) @Sendable (Handle?) -> Void
    let addContext: @convention(c) @Sendable (Handle, UnsafePointer<CChar>) -> Int32
    let connectSocket: @convention(c) @Sendable (Handle, Int32) -> Int32
    let size: @convention(c) @Sendable (Handle) -> Int64
    let read: @convention(c) @Sendable (Handle, UnsafeMutableRawPointer, Int, UInt64, UInt32) -> Int32
    let write: @convention(c) @Sendable (Handle, UnsafeRawPointer, Int, UInt64, UInt32) -> Int32
    let flush: @convention(c) @Sendable (Handle, UInt32) -> Int32
    let status: @convention(c) @Sendable (Handle, UInt64, UInt64, av_nbd_extent_callback, UInt32) -> Int32
    let shutdown: @convention(c) @Sendable (Handle, UInt32) -> Int32
    let errorText: @convention(c) @Sendable () -> UnsafePointer<CChar>?
    let errorNumber: @convention(c) @Sendable () -> Int32

    /// Loads the library; it stays loaded.
    ///
    /// - Throws: `unavailable` with the package that has it.
    init() throws {
        guard let library = dlopen("libnbd.so.0", RTLD_NOW) else {
            throw NBDLibrary.missing("libnbd is not installed")
        }
        func function<Function>(_ name: String, as type: Function.Type) throws -> Function {
            guard let symbol = dlsym(library, name) else { throw NBDLibrary.missing("libnbd has no \(name)") }
            return unsafeBitCast(symbol, to: type)
        }
        create = try function("nbd_create", as: (@convention(c) @Sendable () -> Handle?).self)
        close = try function("nbd_close", as: (@convention(c) @Sendable (Handle?) -> Void).self)
        addContext = try function(
            "nbd_add_meta_context", as: (@convention(c) @Sendable (Handle, UnsafePointer<CChar>) -> Int32).self)
        connectSocket = try function(
            "nbd_connect_socket", as: (@convention(c) @Sendable (Handle, Int32) -> Int32).self)
        size = try function("nbd_get_size", as: (@convention(c) @Sendable (Handle) -> Int64).self)
        read = try function(
            "nbd_pread",
            as: (@convention(c) @Sendable (Handle, UnsafeMutableRawPointer, Int, UInt64, UInt32) -> Int32).self)
        write = try function(
            "nbd_pwrite", as: (@convention(c) @Sendable (Handle, UnsafeRawPointer, Int, UInt64, UInt32) -> Int32).self)
        flush = try function("nbd_flush", as: (@convention(c) @Sendable (Handle, UInt32) -> Int32).self)
        status = try function(
            "nbd_block_status",
            as: (@convention(c) @Sendable (Handle, UInt64, UInt64, av_nbd_extent_callback, UInt32) -> Int32).self)
        shutdown = try function("nbd_shutdown", as: (@convention(c) @Sendable (Handle, UInt32) -> Int32).self)
        errorText = try function("nbd_get_error", as: (@convention(c) @Sendable () -> UnsafePointer<CChar>?).self)
        errorNumber = try function("nbd_get_errno", as: (@convention(c) @Sendable () -> Int32).self)
    }

    private static func missing(_ what: String) -> BackendError {
        BackendError(
            .unavailable, "disk.open", "\(what), and images of QEMU's formats need it; `apt-get install libnbd0`",
            blame: .host)
    }
}
