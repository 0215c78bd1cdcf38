import Abstractions
import Dispatch

#if canImport(Glibc)
    import Glibc
#endif

/// Tells that somebody wrote to a file, as soon as it happens, for as long as it is kept.
public final class FileChanges: Sendable {
    // Dispatch's sources may be used from any thread; the protocol does not say so.
    nonisolated(unsafe) private let source: any DispatchSourceRead

    /// Begins to watch; nil when the file is missing or the host watches no more files.
    ///
    /// - Parameter handler: called after one write or several, one call at a time; must return at once.
    public init?(of path: HostPath, _ handler: @escaping @Sendable () -> Void) {
        let descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0 else { return nil }
        guard inotify_add_watch(descriptor, path.string, UInt32(IN_MODIFY)) >= 0 else {
            close(descriptor)
            return nil
        }
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: .global())
        source.setEventHandler {
            withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
                while read(descriptor, buffer.baseAddress, buffer.count) > 0 {}
            }
            handler()
        }
        source.setCancelHandler { close(descriptor) }
        source.resume()
        self.source = source
    }

    deinit { source.cancel() }
}
