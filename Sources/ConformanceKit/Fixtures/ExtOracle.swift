import Abstractions
import Host

/// Looks into a committed image with e2fsprogs, which share no code with our way in.
struct ExtOracle: Sendable {
    let raw: HostPath

    /// Exports the image's content where it is not raw already.
    init(_ image: DiskImage, folder: HostPath) async throws {
        guard image.format != .raw else {
            raw = image.path
            return
        }
        raw = folder.appending("oracle.raw")
        try? HostFiles.removeTree(raw)
        let source =
            image.format == .vhd
            ? ["--image-opts", "driver=vpc,force_size_calc=current_size,file.filename=\(image.path)"]
            : ["-f", image.format.rawValue, image.path.string]
        _ = try await Tool.check("qemu-img", ["convert", "-O", "raw"] + source + [raw.string])
    }

    /// - Throws: `ConformanceFailure` with what e2fsck complains about.
    func checkClean() async throws {
        let outcome = try await Tool.run("e2fsck", ["-fn", raw.string])
        guard outcome.exit == .exited(0) else {
            throw ConformanceFailure("e2fsck -fn after the commit: \(outcome.text.suffix(600))")
        }
    }

    /// A file's content as debugfs reads it.
    func content(_ path: GuestPath) async throws -> [UInt8] {
        try await Tool.check("debugfs", ["-R", "cat \"\(path)\"", raw.string]).output
    }

    /// What debugfs says of an inode.
    func stat(_ path: GuestPath) async throws -> String {
        try await Tool.check("debugfs", ["-R", "stat \"\(path)\"", raw.string]).text
    }
}
