import Abstractions
import Host
import Testing

@testable import VirtualDisk

/// The kinds of images that QEMU's own tools make.
enum ForeignKind: String, Sendable, CaseIterable, CustomTestStringConvertible {
    case qcow2, qcow2Old, qcow2Compressed, qcow2OverRaw, qcow2OverQCOW2, qcow2WithSnapshot
    case vmdkSparse, vmdkSplit, vmdkFlat, vmdkSplitFlat, vmdkDelta, vmdkStream, vhdx

    var testDescription: String { rawValue }

    static let writable = allCases.filter { ![.vmdkStream, .vhdx].contains($0) }

    var format: ImageFormat {
        rawValue.hasPrefix("qcow2") ? .qcow2 : rawValue.hasPrefix("vmdk") ? .vmdk : .vhdx
    }

    private var options: [String] {
        switch self {
        case .qcow2Old: ["-o", "compat=0.10"]
        case .qcow2Compressed: ["-c"]
        case .vmdkSparse: ["-o", "subformat=monolithicSparse"]
        case .vmdkSplit: ["-o", "subformat=twoGbMaxExtentSparse"]
        case .vmdkFlat: ["-o", "subformat=monolithicFlat"]
        case .vmdkSplitFlat: ["-o", "subformat=twoGbMaxExtentFlat"]
        case .vmdkStream: ["-o", "subformat=streamOptimized"]
        default: []
        }
    }

    /// Makes an image with the content of a raw file.
    func make(_ scratch: Scratch, from raw: HostPath, _ name: String = "disk") async throws -> DiskImage {
        let image = DiskImage(path: scratch.path("\(name).\(format)"), format: format)
        switch self {
        case .qcow2OverRaw, .qcow2OverQCOW2, .vmdkDelta:
            let below: ImageFormat = self == .qcow2OverRaw ? .raw : format
            let base = scratch.path("base.\(below)")
            _ = try await Tool.check("qemu-img", ["convert", "-O", below.rawValue, raw.string, base.string])
            _ = try await Tool.check(
                "qemu-img",
                ["create", "-q", "-f", format.rawValue, "-F", below.rawValue, "-b", base.name, image.path.string])
        default:
            _ = try await Tool.check(
                "qemu-img",
                ["convert", "-f", "raw", "-O", format.rawValue] + options + [raw.string, image.path.string])
        }
        if self == .qcow2WithSnapshot {
            _ = try await Tool.check("qemu-img", ["snapshot", "-c", "before", image.path.string])
        }
        return image
    }
}

/// 12 MiB with a gap, so that each format has something that it does not store.
func foreignContent(_ seed: UInt8 = 1) -> [UInt8] {
    pattern(3 << 20, seed: seed) + [UInt8](repeating: 0, count: 6 << 20) + pattern(3 << 20, seed: seed &+ 1)
}

extension Scratch {
    /// A raw file with these bytes.
    func file(_ bytes: [UInt8], _ name: String = "source.raw") throws -> HostPath {
        try HostFiles.write(bytes, to: path(name))
        return path(name)
    }

    /// What QEMU reads.
    func readByQEMU(_ image: DiskImage) async throws -> [UInt8] {
        let out = path("qemu.raw")
        _ = try await Tool.check(
            "qemu-img", ["convert", "-f", image.format.rawValue, "-O", "raw", image.path.string, out.string])
        defer { try? HostFiles.removeTree(out) }
        return try HostFiles.read(out)
    }

    /// What we read.
    func readByUs(_ image: DiskImage) throws -> [UInt8] {
        let content = try VirtualDisk.open(image, .readOnly).content
        return try content.bytes(at: 0, count: Int(content.size))
    }
}

/// QEMU's own opinion of an image; formats that it cannot check are fine.
func checkByQEMU(_ image: DiskImage, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let outcome = try await Tool.run("qemu-img", ["check", "-f", image.format.rawValue, image.path.string])
    let isFine = outcome.exit == .exited(0) || outcome.exit == .exited(63)
    #expect(isFine, "\(outcome.text)\(outcome.errors)", sourceLocation: sourceLocation)
}
