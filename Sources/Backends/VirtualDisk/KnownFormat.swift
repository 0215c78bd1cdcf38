import Abstractions

/// What is known of an image format. A new format is one line in `all`.
struct KnownFormat: Sendable {
    /// Its name.
    var format: ImageFormat
    /// What the names of its files end in.
    var extensions: [String] = []
    /// Bytes by which a file's head tells it, at their offsets.
    var marks: [(offset: Int, bytes: [UInt8])] = []
    /// Reads and checks an image's own metadata; nil: known by name, but not opened here.
    var layout: (@Sendable (any ImageFile) throws -> any ImageLayout)?
    /// Reads how an image and its parent are named, and nothing more; nil for a format without chains.
    var links: (@Sendable (any ImageFile) throws -> LayerLinks?)?
    /// Writes a new image into an empty file; nil: cannot be made here.
    var make: (@Sendable (any ImageFile, NewImage) throws -> Void)?
    /// Whether VirtualBox writes it: it takes no lock.
    var isVirtualBox = false
    /// Whether QEMU reads and writes it for us: the layout is then that of the content.
    var isForeign = false
    /// Whether none of its images can be written.
    var isReadOnly = false

    /// Every format, each once.
    static let all: [KnownFormat] = [
        KnownFormat(
            format: .raw, extensions: ["img", "raw", "bin"], layout: { try RawLayout($0) },
            make: { file, new in try file.truncate(to: new.size) }),
        KnownFormat(
            format: .vdi, extensions: ["vdi"], marks: [(0x40, littleEndian(VDILayout.signature))],
            layout: { try VDILayout($0) }, links: { try VDILayout.links(of: $0) }, make: VDILayout.make,
            isVirtualBox: true),
        KnownFormat(
            format: .vhd, extensions: ["vhd", "avhd"], marks: [(0, VHDFooter.cookie)], layout: { try VHD.layout($0) },
            links: { try VHD.links(of: $0) }, make: { try VHD.make($0, $1) }, isVirtualBox: true),
        KnownFormat(
            format: .qcow2, extensions: ["qcow2"], marks: [(0, [0x51, 0x46, 0x49, 0xfb])], layout: ForeignLayout.init,
            make: { file, new in try ForeignTool.makeQCOW2(file.path, size: new.size, parent: nil) }, isForeign: true),
        KnownFormat(
            format: .vmdk, extensions: ["vmdk"],
            marks: [(0, Array("KDMV".utf8)), (0, Array("# Disk DescriptorFile".utf8))], layout: ForeignLayout.init,
            isVirtualBox: true, isForeign: true),
        KnownFormat(
            format: .vhdx, extensions: ["vhdx"], marks: [(0, Array("vhdxfile".utf8))], layout: ForeignLayout.init,
            isForeign: true, isReadOnly: true),
        KnownFormat(format: .memory, marks: [(0, Array("anyvisor-memory-disk".utf8))]),
    ]

    /// The line of a format.
    static func of(_ format: ImageFormat) -> KnownFormat? { all.first { $0.format == format } }

    /// The line of a format whose images can be opened.
    ///
    /// - Throws: `unsupported` that lists what can be.
    static func readable(_ image: DiskImage) throws -> KnownFormat {
        if let known = of(image.format), known.layout != nil { return known }
        throw BackendError(
            .unsupported, "disk.open",
            "image format '\(image.format)' of \(image.path) is not known; \(names { $0.layout != nil }) are",
            blame: .caller)
    }

    /// The names of the formats for which something holds, as a list in words.
    static func names(where holds: (KnownFormat) -> Bool) -> String {
        let names = all.filter(holds).map(\.format.rawValue)
        guard let last = names.last, names.count > 1 else { return names.joined() }
        return names.dropLast().joined(separator: ", ") + " and " + last
    }
}

/// What a new image shall be.
struct NewImage: Sendable {
    /// Bytes of the disk.
    var size: Int64
    /// Whether every block gets its place in the file at once.
    var fixed = false
    /// The layer that it is made on, with its file's path; nil for a base image.
    var parent: (links: LayerLinks, path: HostPath)?
}
