import Abstractions
import CExt2fs

/// The disk backend `direct`: libext2fs over VirtualDisk, in process, no mount, no root.
public enum DirectBackend {
    /// How it is registered.
    public static let descriptor = BackendDescriptor(
        name: "direct", summary: "reads and writes ext2, ext3 and ext4 in the image itself: no mount, no root",
        factory: .disk { _ in DirectDiskAccess() })

    /// Its version and its library's.
    static var version: String {
        var text: UnsafePointer<CChar>?
        var date: UnsafePointer<CChar>?
        ext2fs_get_library_version(&text, &date)
        return "libext2fs \(text.map { String(cString: $0) } ?? "unknown")"
    }
}
