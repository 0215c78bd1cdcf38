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
        let header = KnownFormat.all.first { known in
            known.marks.contains { $0.bytes == Array(head[$0.offset..<$0.offset + $0.bytes.count]) }
        }?.format
        switch (format(named: path), header) {
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

    /// What a file's name says of its format; nil when it says nothing.
    public static func format(named path: HostPath) -> ImageFormat? {
        KnownFormat.all.first { $0.extensions.contains(path.fileExtension) }?.format
    }

    /// The formats whose images can be opened.
    public static var formats: [ImageFormat] { KnownFormat.all.filter { $0.layout != nil }.map(\.format) }

    /// Those of them whose images cannot be written.
    public static var readOnlyFormats: [ImageFormat] {
        KnownFormat.all.filter { $0.layout != nil && $0.isReadOnly }.map(\.format)
    }
}
