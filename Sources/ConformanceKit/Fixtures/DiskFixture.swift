import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Makes images of one kind with a known tree, by tools that are not ours (mke2fs, debugfs, qemu-img).
struct DiskFixture: Sendable {
    let kind: DiskKind
    /// Where master copies lie, of all kinds; images that are layers lie over one of them.
    let folder: HostPath

    var format: ImageFormat { kind.format }

    static let size: Int64 = 48 << 20
    static let label = "fixture"

    /// Kinds of images.
    enum Shape: String, Sendable, CaseIterable {
        /// A file system over the whole disk with the standard tree.
        case standard
        /// A table with an empty partition behind one with a file system.
        case partitioned
        /// The standard image with a journal that waits for its replay.
        case dirty
        /// The standard image with a file system marked as damaged.
        case damaged
        /// No image at all: text.
        case garbage
        /// The standard image with its end missing.
        case truncated
    }

    /// A fresh image of this shape.
    ///
    /// - Throws: `ConformanceSkip` when the format has no such thing.
    func make(_ shape: Shape, at path: HostPath) async throws -> DiskImage {
        guard format != .folder || shape == .standard else {
            throw ConformanceSkip("a folder has no \(shape.rawValue) form")
        }
        let master = try await master(shape == .truncated ? .standard : shape, format)
        let isLayer = kind.isLayer && shape != .garbage
        if isLayer {
            try await makeLayer(over: master, at: path)
        } else {
            _ = try await Tool.check("cp", ["-a", "--reflink=auto", "--sparse=always", master.string, path.string])
        }
        if shape == .truncated { truncate(path.string, off_t((HostFiles.size(path) ?? 0) / 2)) }
        return DiskImage(path: path, format: format, parentFolders: isLayer ? [folder] : nil)
    }

    private func makeLayer(over master: HostPath, at path: HostPath) async throws {
        switch format {
        case .vdi: try VDILayer.make(over: master, at: path)
        case .vhd: try VHDLayer.make(over: master, at: path)
        default:
            let name = format.rawValue
            _ = try await Tool.check(
                "qemu-img", ["create", "-q", "-f", name, "-F", name, "-b", master.string, path.string])
        }
    }

    /// The image that others are copied from, or made over; made when it is not there yet.
    private func master(_ shape: Shape, _ format: ImageFormat) async throws -> HostPath {
        let master = folder.appending("\(shape.rawValue).\(format)")
        guard !HostFiles.exists(master) else { return master }
        let draft = folder.appending("draft-\(shape.rawValue).\(format)")
        try? HostFiles.removeTree(draft)
        switch format {
        case .memory: try makeMemory(shape, draft)
        case .folder: try makeFolder(draft)
        case .raw: try await makeRaw(shape, draft)
        default: try await convert(shape, draft)
        }
        guard rename(draft.string, master.string) == 0 else { throw hostError("fixture", "cannot make \(master)") }
        return master
    }

    // MARK: - memory and folder

    private func makeMemory(_ shape: Shape, _ path: HostPath) throws {
        let tree = StandardTree.make(specials: true)
        func volume(_ state: String = "clean") -> String {
            MemoryImage.volume(tree, label: Self.label, size: Self.size, state: state)
        }
        switch shape {
        case .standard, .truncated: try MemoryImage.write([volume()], to: path)
        case .partitioned: try MemoryImage.write([volume(), MemoryImage.emptyVolume(size: 1 << 20)], to: path)
        case .dirty: try MemoryImage.write([volume("dirty")], to: path)
        case .damaged: try MemoryImage.write([volume("error")], to: path)
        case .garbage: try HostFiles.write(pattern(9_000), to: path)
        }
    }

    private func makeFolder(_ path: HostPath) throws {
        try HostFiles.makeDirectories(path)
        try HostTree.make(StandardTree.make(specials: false), below: path)
    }

    // MARK: - ext4

    private func convert(_ shape: Shape, _ path: HostPath) async throws {
        guard shape != .garbage else { return try HostFiles.write(pattern(2 << 20), to: path) }
        let raw = try await master(shape, .raw)
        // QEMU's name of a VHD is vpc, and without the option it rounds the size up to a geometry.
        let target = format == .vhd ? ["-O", "vpc", "-o", "force_size=on"] : ["-O", format.rawValue]
        _ = try await Tool.check("qemu-img", ["convert", "-f", "raw"] + target + [raw.string, path.string])
    }

    private func makeRaw(_ shape: Shape, _ path: HostPath) async throws {
        switch shape {
        case .standard, .truncated: return try await makeStandard(path)
        case .garbage: return try HostFiles.write(pattern(2 << 20), to: path)
        case .dirty, .damaged, .partitioned: break
        }
        let standard = try await master(.standard, .raw)
        _ = try await Tool.check("cp", ["--sparse=always", standard.string, path.string])
        switch shape {
        case .dirty: _ = try await Tool.check("debugfs", ["-w", "-R", "feature needs_recovery", path.string])
        case .damaged: _ = try await Tool.check("debugfs", ["-w", "-R", "ssv state 2", path.string])
        default: try partition(path)
        }
    }

    private func makeStandard(_ raw: HostPath) async throws {
        let source = folder.appending("source")
        try? HostFiles.removeTree(source)
        try HostFiles.makeDirectories(source)
        defer { try? HostFiles.removeTree(source) }
        let tree = StandardTree.make(specials: true)
        try HostTree.make(tree, below: source)
        try HostFiles.write([], to: raw)
        truncate(raw.string, off_t(Self.size))
        _ = try await Tool.check(
            "mke2fs",
            [
                "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "4096", "-L", Self.label, "-E", "root_owner=0:0", "-d",
                source.string, raw.string,
            ])
        // What an ordinary user cannot make on the host, debugfs writes into the image.
        var script: [String] = []
        for entry in tree.entries {
            let kinds: [FileKind: String] = [.blockDevice: "b", .characterDevice: "c", .fifo: "p"]
            if let kind = kinds[entry.kind] {
                script.append("cd \(entry.path.parent)")
                let numbers = kind == "p" ? "" : " \(entry.device.major) \(entry.device.minor)"
                script.append("mknod \(entry.path.name) \(kind)\(numbers)")
            }
            if entry.uid != 0 {
                script.append("sif \(entry.path) uid \(entry.uid)")
                script.append("sif \(entry.path) gid \(entry.gid)")
            }
        }
        let file = folder.appending("draft.debugfs")
        try HostFiles.write(Array((script.joined(separator: "\n") + "\n").utf8), to: file)
        defer { try? HostFiles.removeTree(file) }
        _ = try await Tool.check("debugfs", ["-w", "-f", file.string, raw.string])
        let clean = try await Tool.run("e2fsck", ["-fn", raw.string])
        guard clean.exit == .exited(0) else {
            throw ConformanceFailure("the fixture itself is not clean: \(clean.text)")
        }
    }

    /// Puts a table in front of the file system: it is partition 1 from 1 MiB on, an empty 1 MiB is partition 2.
    ///
    /// Source of the layout: the classic generic MBR, four entries of 16 bytes from byte 446 on.
    private func partition(_ raw: HostPath) throws {
        let bytes = try HostFiles.read(raw)
        var disk = [UInt8](repeating: 0, count: 1 << 20)
        func entry(_ number: Int, first: UInt32, count: UInt32) {
            let start = 446 + 16 * number
            disk[start + 4] = 0x83
            for byte in 0..<4 {
                disk[start + 8 + byte] = UInt8(truncatingIfNeeded: first >> UInt32(8 * byte))
                disk[start + 12 + byte] = UInt8(truncatingIfNeeded: count >> UInt32(8 * byte))
            }
        }
        let sectors = UInt32(bytes.count / 512)
        entry(0, first: 2048, count: sectors)
        entry(1, first: 2048 + sectors, count: 2048)
        disk[510] = 0x55
        disk[511] = 0xaa
        try HostFiles.write(disk + bytes + [UInt8](repeating: 0, count: 1 << 20), to: raw)
    }
}
