import Abstractions
import Host
import Runner
import VirtualDisk

/// Images of the catalogue with their disk in another format: `NAME@FORMAT`, made once for a command.
actor ImageFormats {
    private let plain: ImageSource
    private let folder: HostPath
    private var made: [String: Task<GuestImage, any Error>] = [:]

    private static let formats: [ImageFormat] = [.raw, .qcow2, .vdi]

    /// - Parameter folder: where the disks are made.
    init(_ plain: ImageSource, in folder: HostPath) {
        self.plain = plain
        self.folder = folder
    }

    /// The image's name and its format, nil where none is asked for.
    ///
    /// - Throws: `invalidArgument` for a format that no disk is made in.
    static func parts(of name: String) throws -> (name: String, format: ImageFormat?) {
        let parts = name.split(separator: "@", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return (name, nil) }
        let format = ImageFormat(parts[1])
        guard formats.contains(format) else {
            throw BackendError(
                .invalidArgument, "image",
                "'\(name)': the format is one of \(formats.map(\.rawValue).joined(separator: ", "))", blame: .caller)
        }
        return (parts[0], format)
    }

    /// A source that knows these names too.
    nonisolated var source: ImageSource {
        ImageSource(names: plain.names) { [self] name, note in
            let (base, format) = try Self.parts(of: name)
            guard let format else { return try await plain.find(base, note) }
            return try await image(base, format, note)
        }
    }

    private func image(
        _ name: String, _ format: ImageFormat, _ note: @escaping @Sendable (String) -> Void
    ) async throws -> GuestImage {
        let key = "\(name)@\(format)"
        let making =
            made[key]
            ?? Task { [plain, folder] in
                var image = try await plain.find(name, note)
                guard let disk = image.disk else {
                    throw BackendError(
                        .unsupported, "image", "image '\(name)' has no disk that could be in another format",
                        blame: .caller)
                }
                let target = DiskImage(path: folder.appending("\(name).\(format)"), format: format)
                if disk.format != format {
                    note("\(key): the disk is converted")
                    try await onOwnThread { Result { try Self.convert(disk, to: target, in: folder) } }.get()
                    image.disk = target
                }
                image.name = key
                image.identity += "@\(format)"
                return image
            }
        made[key] = making
        return try await making.value
    }

    private static func convert(_ disk: DiskImage, to target: DiskImage, in folder: HostPath) throws {
        try HostFiles.makeDirectories(folder)
        guard disk.format != .raw else { return try VirtualDisk.importRaw(disk.path, as: target) }
        let raw = folder.appending("\(target.path.name).raw")
        try VirtualDisk.open(disk, .readOnly).export(to: raw)
        defer { try? HostFiles.removeTree(raw) }
        try VirtualDisk.importRaw(raw, as: target)
    }
}
