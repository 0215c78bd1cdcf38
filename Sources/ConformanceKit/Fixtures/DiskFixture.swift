import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Makes images of one format with a known tree, by tools that are not ours (mke2fs, debugfs, qemu-img).
struct DiskFixture: Sendable {
    let format: ImageFormat
    /// Whether its images are layers over a master, which is found by a folder that is given.
    var isLayer = false
    /// Where master copies lie.
    let folder: HostPath

    /// Kinds of images for which fixtures can be made.
    static let kinds: [(format: ImageFormat, isLayer: Bool)] = [
        (.raw, false), (.vdi, false), (.vdi, true), (.vhd, false), (.qcow2, false), (.memory, false), (.folder, false),
    ]

    /// What the cases over it are called by.
    var name: String { isLayer ? "\(format)-layer" : format.rawValue }

    /// Whether images hold ext4, which others can look into.
    var isExt: Bool { [.raw, .vdi, .vhd, .qcow2].contains(format) }
    /// Whether it can hold device nodes and other owners.
    var hasSpecials: Bool { format != .folder }

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
        let master = folder.appending("\(shape.rawValue).\(format.rawValue)")
        if !HostFiles.exists(master) {
            let draft = folder.appending("draft-\(shape.rawValue).\(format.rawValue)")
            try? HostFiles.removeTree(draft)
            switch format {
            case .memory: try await makeMemory(shape, draft)
            case .folder: try makeFolder(shape, draft)
            default: try await makeExt(shape, draft)
            }
            guard rename(draft.string, master.string) == 0 else { throw hostError("fixture", "cannot make \(master)") }
        }
        if isLayer, shape != .garbage {
            try VDILayer.make(over: master, at: path)
            if shape == .truncated { truncate(path.string, off_t((HostFiles.size(path) ?? 0) / 2)) }
            return DiskImage(path: path, format: format, parentFolders: [folder])
        }
        _ = try await Tool.check("cp", ["-a", "--reflink=auto", "--sparse=always", master.string, path.string])
        return DiskImage(path: path, format: format)
    }

    // MARK: - memory and folder

    private func makeMemory(_ shape: Shape, _ path: HostPath) async throws {
        let tree = StandardTree.make(specials: true)
        func volume(_ state: String = "clean") -> String {
            MemoryImage.volume(tree, label: Self.label, size: Self.size, state: state)
        }
        switch shape {
        case .standard: try MemoryImage.write([volume()], to: path)
        case .partitioned: try MemoryImage.write([volume(), MemoryImage.emptyVolume(size: 1 << 20)], to: path)
        case .dirty: try MemoryImage.write([volume("dirty")], to: path)
        case .damaged: try MemoryImage.write([volume("error")], to: path)
        case .garbage: try HostFiles.write(pattern(9_000), to: path)
        case .truncated:
            try MemoryImage.write([volume()], to: path)
            truncate(path.string, off_t((HostFiles.size(path) ?? 0) / 2))
        }
    }

    private func makeFolder(_ shape: Shape, _ path: HostPath) throws {
        guard shape == .standard else { throw ConformanceSkip("a folder has no \(shape.rawValue) form") }
        try HostFiles.makeDirectories(path)
        try HostTree.make(StandardTree.make(specials: false), below: path)
    }

    // MARK: - ext4

    private func makeExt(_ shape: Shape, _ path: HostPath) async throws {
        if shape == .garbage {
            return try HostFiles.write(pattern(2 << 20), to: path)
        }
        let raw = folder.appending("draft.raw")
        try? HostFiles.removeTree(raw)
        defer { try? HostFiles.removeTree(raw) }
        try await makeRaw(raw)
        switch shape {
        case .dirty: _ = try await Tool.check("debugfs", ["-w", "-R", "feature needs_recovery", raw.string])
        case .damaged: _ = try await Tool.check("debugfs", ["-w", "-R", "ssv state 2", raw.string])
        case .partitioned: try await partition(raw)
        default: break
        }
        if format == .raw {
            guard rename(raw.string, path.string) == 0 else { throw hostError("fixture", "cannot make \(path)") }
        } else {
            // QEMU's name of a VHD is vpc, and without the option it rounds the size up to a geometry.
            let target = format == .vhd ? ["-O", "vpc", "-o", "force_size=on"] : ["-O", format.rawValue]
            _ = try await Tool.check("qemu-img", ["convert", "-f", "raw"] + target + [raw.string, path.string])
        }
        if shape == .truncated, !isLayer { truncate(path.string, off_t((HostFiles.size(path) ?? 0) / 2)) }
    }

    private func makeRaw(_ raw: HostPath) async throws {
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
    private func partition(_ raw: HostPath) async throws {
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
