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
        let base = try image.parentFolders?.first.map { try ExtOracle.base(of: image, in: $0) } ?? image
        let source =
            base.format == .vhd
            ? ["--image-opts", "driver=vpc,force_size_calc=current_size,file.filename=\(base.path)"]
            : ["-f", base.format.rawValue, base.path.string]
        _ = try await Tool.check("qemu-img", ["convert", "-O", "raw"] + source + [raw.string])
        if base != image { try VDILayer.lay(image.path, over: raw) }
    }

    /// The master on which a layer of the fixture was made.
    private static func base(of image: DiskImage, in folder: HostPath) throws -> DiskImage {
        let uuid = try HostFiles.read(image.path)[0x1a8..<0x1b8]
        for name in HostFiles.names(in: folder) where name.hasSuffix(".vdi") {
            let path = folder.appending(name)
            if try HostFiles.read(path)[0x188..<0x198] == uuid { return DiskImage(path: path, format: .vdi) }
        }
        throw ConformanceFailure("the base of \(image.path) is not in \(folder)")
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
