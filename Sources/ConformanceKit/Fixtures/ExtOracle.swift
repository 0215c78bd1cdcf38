import Abstractions
import Host

/// Looks into a committed image with e2fsprogs, which share no code with our way in.
struct ExtOracle: Sendable {
    let raw: HostPath

    /// Exports the image's content where it is not raw already: by qemu-img, which follows the layers of its own formats, and by
    /// hand where it cannot.
    init(_ image: DiskImage, folder: HostPath) async throws {
        guard image.format != .raw else {
            raw = image.path
            return
        }
        raw = folder.appending("oracle.raw")
        try? HostFiles.removeTree(raw)
        switch (image.format, image.parentFolders?.first) {
        case (.vdi, let masters?):
            let base = try ExtOracle.base(of: image, in: masters, VDILayer.parent, VDILayer.uuid)
            try await ExtOracle.export(base, to: raw)
            try VDILayer.lay(image.path, over: raw)
        case (.vhd, let masters?):
            let base = try ExtOracle.base(of: image, in: masters, VHDLayer.parent, VHDLayer.uuid)
            try await ExtOracle.export(base, to: raw)
            try VHDLayer.lay(image.path, over: raw)
        default: try await ExtOracle.export(image, to: raw)
        }
    }

    private static func export(_ image: DiskImage, to raw: HostPath) async throws {
        let source =
            image.format == .vhd
            ? ["--image-opts", "driver=vpc,force_size_calc=current_size,file.filename=\(image.path)"]
            : ["-f", image.format.rawValue, image.path.string]
        _ = try await Tool.check("qemu-img", ["convert", "-O", "raw"] + source + [raw.string])
    }

    /// The master on which a layer of the fixture was made.
    private static func base(
        of image: DiskImage, in folder: HostPath, _ parent: ([UInt8]) -> [UInt8], _ uuid: ([UInt8]) -> [UInt8]
    ) throws -> DiskImage {
        let wanted = parent(try HostFiles.read(image.path))
        for name in HostFiles.names(in: folder) where name.hasSuffix(".\(image.format)") {
            let path = folder.appending(name)
            if uuid(try HostFiles.read(path)) == wanted { return DiskImage(path: path, format: image.format) }
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
