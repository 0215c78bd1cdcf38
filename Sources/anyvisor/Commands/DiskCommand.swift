import Abstractions
import AnyvisorKit
import ArgumentParser
import Filters

/// `anyvisor disk`: files inside a disk image.
struct DiskCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disk",
        abstract: "Reads and writes files inside a disk image, without root, mount or appliance.",
        discussion: "Example: anyvisor disk ls machine.vdi /etc",
        subcommands: [
            DiskInfo.self, DiskList.self, DiskCat.self, DiskGet.self, DiskPut.self, DiskMakeDirectory.self,
            DiskRemove.self, DiskCheck.self, DiskCreate.self, DiskExport.self, DiskImport.self,
        ])
}

/// The options that the `disk` verbs share.
struct DiskOptions: ParsableArguments {
    @Option(help: "Disk backends in the order to try, separated by commas.")
    var disk: String?
    @Option(help: "Volume: `whole`, `p1`, `p2` …; needed when the disk has several file systems.")
    var volume: String?
    @OptionGroup var source: ImageOptions
    @Flag(help: "Print JSON.")
    var json = false

    /// The image that is meant.
    func image(_ path: String) throws -> DiskImage { try source.image(path) }

    /// The backends that were named, in the order to try.
    var backends: [String]? { disk.map { $0.split(separator: ",").map(String.init) } }

    /// Runs the body in a scope, and says on standard error who was passed over in it.
    func withDisk<Value: Sendable>(
        _ path: String, _ body: @escaping @Sendable (DiskOperations, FallbackLog) async throws -> Value
    ) async throws -> Value {
        let operations = DiskOperations(
            source.name(path), volume: volume.map { VolumeID($0) }, backends: backends)
        return try await CommandScope.run { _ in
            let log = FallbackLog()
            defer {
                for rejection in log.rejections {
                    Terminal.talk(
                        "anyvisor: \(rejection.backend) \(rejection.how) in \(rejection.operation): \(rejection.message)"
                    )
                }
            }
            return try await body(operations, log)
        }
    }
}
