import Abstractions
import Host

/// A disposable layer over a base disk, made by `qemu-img` in a millisecond whatever the base's size.
enum Overlay {
    /// Makes a qcow2 layer; the base is only read.
    ///
    /// - Throws: `unavailable` without `qemu-img`, `noSpace`, `internal` with its text.
    static func make(over base: DiskImage, at path: HostPath) async throws {
        let outcome = try await Tool.run(
            "qemu-img",
            [
                "create", "-q", "-f", "qcow2", "-F", base.format.rawValue, "-b", HostFiles.absolute(base.path).string,
                path.string,
            ])
        guard outcome.exit == .exited(0) else {
            throw BackendError(
                outcome.errors.contains("No space") ? .noSpace : .internal, "overlay",
                "cannot make an overlay of \(base.path): \(outcome.errors)", blame: .host)
        }
    }
}
