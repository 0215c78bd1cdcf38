import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import VirtualDisk

/// `anyvisor disk create FILE`.
struct DiskCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Makes a new disk image, with a file system when one is named, or a layer on another image.",
        discussion: "Example: anyvisor disk create data.vdi --size 1GiB --filesystem ext4 --label data")
    @Argument(help: "The image's file; must not exist yet.") var image: String
    @Option(help: "Size of the disk; a layer has its parent's when it is left out.") var size: String?
    @Option(help: "Format of the image; told from the file's name, or the parent's, when it is left out.")
    var format: String?
    @Option(help: "Make a snapshot layer on this image, which must stay as it is from then on.") var parent: String?
    @Option(help: "One more folder in which the parent's own parents are searched; may be given several times.")
    var parentFolder: [String] = []
    @Option(help: "File system over the whole disk: ext2, ext3 or ext4.") var filesystem: String?
    @Option(help: "The file system's label.") var label: String?
    @Flag(help: "Give every block its place in the file now.") var fixed = false

    func validate() throws {
        if parent == nil && size == nil { throw ValidationError("--size is needed, or --parent") }
        if parent != nil && (filesystem != nil || fixed) {
            throw ValidationError("a layer has its parent's content: --filesystem and --fixed do not go with --parent")
        }
        if label != nil && filesystem == nil { throw ValidationError("--label needs --filesystem") }
        if let filesystem, !["ext2", "ext3", "ext4"].contains(filesystem) {
            throw ValidationError("--filesystem takes ext2, ext3 or ext4, not '\(filesystem)'")
        }
    }

    func run() async throws {
        let bytes = try size.map { size in
            guard let bytes = ByteCount(parsing: size) else {
                throw BackendError(.invalidArgument, "disk.create", "--size takes a size such as 512MiB, not '\(size)'")
            }
            return bytes
        }
        let path = HostFiles.absolute(HostPath(image))
        let below = try parent.map { try ImageName($0, parentFolders: parentFolder).image() }
        let named = VirtualDisk.format(named: path) ?? below?.format ?? .raw
        let target = DiskImage(path: path, format: format.map { ImageFormat($0) } ?? named)
        let (filesystem, label, fixed) = (filesystem, label, fixed)
        try await CommandScope.run { scope in
            if let below { return try layer(target, below, bytes) }
            guard let bytes else { return }
            guard let filesystem else { return try VirtualDisk.create(target, size: bytes, fixed: fixed) }
            let draft = scope.work.appending("filesystem.raw")
            try VirtualDisk.create(DiskImage(path: draft, format: .raw), size: bytes)
            _ = try await Tool.check(
                "mke2fs", ["-q", "-F", "-t", filesystem] + (label.map { ["-L", $0] } ?? []) + [draft.string])
            try VirtualDisk.importRaw(draft, as: target, fixed: fixed)
        }
    }

    private func layer(_ target: DiskImage, _ below: DiskImage, _ size: ByteCount?) throws {
        try VirtualDisk.create(target, over: below, size: size)
        do {
            _ = try VirtualDisk.open(target, .readOnly)
        } catch let error as BackendError where error.code == .notFound {
            Terminal.talk("note: \(target.path) is opened with --parent-folder \(below.path.parent)")
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
    @OptionGroup var source: ImageOptions

    func run() async throws {
        let (disk, target) = (DiskOperations(source.name(image), volume: nil, backends: nil), target)
        let meter = TransferMeter(json: false)
        let size = try await CommandScope.run { _ in try await disk.exportContent(to: target, progress: meter.sink) }
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
    @Option(help: "Format of the image; told from its name when it is left out.") var format: String?

    func run() async throws {
        let path = HostFiles.absolute(HostPath(image))
        let named = VirtualDisk.format(named: path) ?? .raw
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
