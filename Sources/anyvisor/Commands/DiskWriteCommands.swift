import Abstractions
import AnyvisorKit
import ArgumentParser

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
        let (source, path) = (source, path)
        let meter = TransferMeter(json: options.json)
        let report = try await options.withDisk(image) { disk, log in
            try await disk.put(source, to: path, log: log, progress: meter.sink)
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
        let (path, parents) = (GuestPath(path), parents)
        try await options.withDisk(image) { disk, log in
            try await disk.withFilesystem(.readWrite, log) { filesystem, session in
                try await disk.writable(filesystem).makeDirectory(path, parents: parents)
                try await session.commit()
            }
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
        let (path, recursive) = (GuestPath(path), recursive)
        try await options.withDisk(image) { disk, log in
            try await disk.withFilesystem(.readWrite, log) { filesystem, session in
                try await disk.writable(filesystem).remove(path, recursive: recursive)
                try await session.commit()
            }
        }
    }
}
