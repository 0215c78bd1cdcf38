import Abstractions
import ArgumentParser
import Host

/// `anyvisor disk put IMAGE HOSTPATH GUESTPATH`.
struct DiskPut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Copies a host file or tree into an image: all of it, or nothing.",
        discussion: "Example: anyvisor disk put machine.vdi ./data /srv/data")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "A file or folder of this host.") var source: String
    @Argument(help: "Its path inside the image; an existing folder then holds it when it ends with a slash.") var path:
        String
    @OptionGroup var options: DiskOptions

    func run() async throws {
        let host = HostFiles.absolute(HostPath(source))
        guard HostFiles.exists(host) else {
            throw BackendError(.notFound, "disk.put", "there is no \(source)", blame: .caller)
        }
        let guest = path.hasSuffix("/") ? GuestPath(path).appending(host.name) : GuestPath(path)
        let meter = TransferMeter(json: options.json)
        let image = image
        let report = try await options.withFilesystem(image, .readWrite) { filesystem, session in
            let report = try await writable(filesystem, image)
                .copyIn(host, to: guest, options: CopyInOptions(), progress: meter.sink)
            try await session.commit()
            return report
        }
        try meter.finish(report)
    }
}

/// `anyvisor disk mkdir IMAGE GUESTPATH`.
struct DiskMakeDirectory: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mkdir", abstract: "Makes a folder inside an image.",
        discussion: "Example: anyvisor disk mkdir machine.vdi /srv/data --parents")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "The folder's path inside the image.") var path: String
    @Flag(name: .shortAndLong, help: "Make the folders above it too; it may exist.") var parents = false
    @OptionGroup var options: DiskOptions

    func run() async throws {
        let (image, path, parents) = (image, GuestPath(path), parents)
        try await options.withFilesystem(image, .readWrite) { filesystem, session in
            try await writable(filesystem, image).makeDirectory(path, parents: parents)
            try await session.commit()
        }
    }
}

/// `anyvisor disk rm IMAGE GUESTPATH`.
struct DiskRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Removes a file or folder inside an image.",
        discussion: "Example: anyvisor disk rm machine.vdi /srv/data --recursive")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "The path inside the image.") var path: String
    @Flag(name: .shortAndLong, help: "Remove a folder with all that is in it.") var recursive = false
    @OptionGroup var options: DiskOptions

    func run() async throws {
        let (image, path, recursive) = (image, GuestPath(path), recursive)
        try await options.withFilesystem(image, .readWrite) { filesystem, session in
            try await writable(filesystem, image).remove(path, recursive: recursive)
            try await session.commit()
        }
    }
}
