import Abstractions
import AnyvisorKit
import ArgumentParser

/// The options that say which image is meant.
struct ImageOptions: ParsableArguments {
    @Option(help: "Image format; told from the file's name and header when it is left out.")
    var format: String?
    @Option(help: "Open this snapshot layer of the image instead: a file, its name, or its uuid.")
    var layer: String?
    @Option(help: "Read this snapshot inside a qcow2 image instead of its present state.")
    var snapshot: String?
    @Option(help: "One more folder in which the parents of a snapshot layer are searched; may be given several times.")
    var parentFolder: [String] = []
    @Flag(help: "Read an image that is in use: what is read may be old, or half of a change.")
    var forceStale = false

    /// The image as it was named.
    func name(_ path: String) -> ImageName {
        ImageName(
            path, format: format.map { ImageFormat($0) }, layer: layer, snapshot: snapshot,
            parentFolders: parentFolder, forceStale: forceStale)
    }

    /// The image, or its layer, with its format, given or told from the name and header.
    func image(_ path: String) throws -> DiskImage { try name(path).image() }
}
