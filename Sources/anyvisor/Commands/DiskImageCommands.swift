import Abstractions
import ArgumentParser
import Host
import VirtualDisk

/// `anyvisor disk create FILE`.
struct DiskCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes a new disk image, with a file system when one is named.",
        discussion: "Example: anyvisor disk create data.vdi --size 1GiB --filesystem ext4 --label data")
    @Argument(help: "The image's file; must not exist yet.") var image: String
    @Option(help: "Size of the disk.") var size: String
    @Option(help: "raw or vdi; told from the file's name when it is left out.") var format: String?
    @Option(help: "File system over the whole disk: ext2, ext3 or ext4.") var filesystem: String?
    @Option(help: "The file system's label.") var label: String?
    @Flag(help: "Give every block its place in the file now.") var fixed = false

    func run() async throws {
        guard let bytes = ByteCount(parsing: size) else {
            throw BackendError(.invalidArgument, "disk.create", "--size takes a size such as 512MiB, not '\(size)'")
        }
        let known = ["ext2", "ext3", "ext4"]
        if let filesystem, !known.contains(filesystem) {
            throw BackendError(
                .invalidArgument, "disk.create", "--filesystem takes ext2, ext3 or ext4, not '\(filesystem)'")
        }
        let path = HostFiles.absolute(HostPath(image))
        let named: ImageFormat = path.fileExtension == "vdi" ? .vdi : .raw
        let target = DiskImage(path: path, format: format.map { ImageFormat($0) } ?? named)
        let (filesystem, label, fixed) = (filesystem, label, fixed)
        try await CommandScope.run { scope in
            guard let filesystem else { return try VirtualDisk.create(target, size: bytes, fixed: fixed) }
            let draft = scope.work.appending("filesystem.raw")
            try VirtualDisk.create(DiskImage(path: draft, format: .raw), size: bytes)
            _ = try await Tool.check(
                "mke2fs", ["-q", "-F", "-t", filesystem] + (label.map { ["-L", $0] } ?? []) + [draft.string])
            try VirtualDisk.importRaw(draft, as: target)
        }
    }
}

/// `anyvisor disk export IMAGE RAWFILE`.
struct DiskExport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Writes an image's whole content to a new raw file.",
        discussion: "Example: anyvisor disk export machine.vdi machine.raw")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "The raw file; must not exist yet.") var target: String
    @Option(help: "Image format; told from the file's name and header when it is left out.") var format: String?

    func run() async throws {
        let image = try ImageName.resolve(image, format: format)
        let target = HostFiles.absolute(HostPath(target))
        let meter = TransferMeter(json: false)
        let size = try await CommandScope.run { _ in
            let disk = try VirtualDisk.open(image, .readOnly)
            try disk.export(to: target, progress: meter.sink)
            return disk.content.size
        }
        try meter.finish(CopyReport(bytes: size, files: 1))
    }
}

/// `anyvisor disk import RAWFILE IMAGE`.
struct DiskImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Makes a new image of a raw file's content.",
        discussion: "Example: anyvisor disk import IMAGE-FILE.vdi disk.raw")
    @Argument(help: "The image to make; must not exist yet.") var image: String
    @Argument(help: "The raw file.") var source: String
    @Option(help: "raw or vdi; told from the image's name when it is left out.") var format: String?

    func run() async throws {
        let path = HostFiles.absolute(HostPath(image))
        let named: ImageFormat = path.fileExtension == "vdi" ? .vdi : .raw
        let target = DiskImage(path: path, format: format.map { ImageFormat($0) } ?? named)
        let source = HostFiles.absolute(HostPath(source))
        let meter = TransferMeter(json: false)
        let size = try await CommandScope.run { _ in
            try VirtualDisk.importRaw(source, as: target, progress: meter.sink)
            return HostFiles.size(source) ?? 0
        }
        try meter.finish(CopyReport(bytes: size, files: 1))
    }
}
