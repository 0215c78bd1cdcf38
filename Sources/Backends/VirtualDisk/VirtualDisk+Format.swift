import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

extension VirtualDisk {
    /// Tells an image's format from its name, confirmed by its header; content alone never makes an image raw.
    ///
    /// A format that is known by name but cannot be opened here is told too, so that opening refuses it by name.
    /// - Throws: `invalidArgument` when name and header disagree, or when neither says anything.
    public static func detectFormat(_ path: HostPath) throws -> ImageFormat {
        let head = try PosixFile(path, O_RDONLY).bytes(at: 0, count: 512)
        let header = marks.first { $0.bytes == Array(head[$0.offset..<$0.offset + $0.bytes.count]) }?.format
        switch (names[path.fileExtension], header) {
        case (let name?, let header?) where name == header: return name
        // Opening says what is wrong with the header.
        case (let name?, nil): return name
        case (nil, let header?): return header
        case (let name, let header):
            throw BackendError(
                .invalidArgument, "disk.format",
                "the format of \(path) is not clear: its name says \(name?.rawValue ?? "nothing"), its header "
                    + "\(header?.rawValue ?? "nothing"); give --format", blame: .caller)
        }
    }

    private static let names: [String: ImageFormat] = [
        "img": .raw, "raw": .raw, "bin": .raw, "vdi": .vdi, "qcow2": .qcow2, "vmdk": ImageFormat("vmdk"),
        "vhd": ImageFormat("vhd"), "vhdx": ImageFormat("vhdx"),
    ]

    private static let marks: [(offset: Int, bytes: [UInt8], format: ImageFormat)] = [
        (0x40, littleEndian(VDILayout.signature), .vdi), (0, [0x51, 0x46, 0x49, 0xfb], .qcow2),
        (0, Array("anyvisor-memory-disk".utf8), .memory), (0, Array("KDMV".utf8), ImageFormat("vmdk")),
        (0, Array("# Disk DescriptorFile".utf8), ImageFormat("vmdk")),
        (0, Array("conectix".utf8), ImageFormat("vhd")), (0, Array("vhdxfile".utf8), ImageFormat("vhdx")),
    ]
}
