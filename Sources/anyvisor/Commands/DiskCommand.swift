import Abstractions
import ArgumentParser
import Filters
import Host
import VirtualDisk

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

    /// Opens the image with the chain, runs the body and closes; the body commits itself.
    func withSession<Value: Sendable>(
        _ path: String, _ mode: AccessMode, _ body: @escaping @Sendable (any DiskSession) async throws -> Value
    ) async throws -> Value {
        let image = try image(path)
        let names = disk
        return try await CommandScope.run { _ in
            let catalogue = try Catalogue.load()
            let access = try catalogue.diskChain(names)
            do {
                let session = try await access.open(image, mode)
                let value = try await body(session)
                try await session.close()
                await access.close()
                catalogue.reportRejections()
                return value
            } catch {
                await access.close()
                catalogue.reportRejections()
                throw error
            }
        }
    }

    /// Like `withSession`, on the one file system that is meant.
    func withFilesystem<Value: Sendable>(
        _ path: String, _ mode: AccessMode,
        _ body: @escaping @Sendable (any GuestFilesystem, any DiskSession) async throws -> Value
    ) async throws -> Value {
        let wanted = volume.map { VolumeID($0) }
        return try await withSession(path, mode) { session in
            let volume = try await chosenVolume(session, wanted, path)
            return try await body(try await session.filesystem(on: volume), session)
        }
    }
}

private func chosenVolume(_ session: any DiskSession, _ wanted: VolumeID?, _ path: String) async throws -> VolumeID {
    let volumes = try await session.volumes()
    let names = volumes.map { "\($0.id) (\($0.fileSystem ?? "unknown"))" }.joined(separator: ", ")
    if let wanted {
        guard volumes.contains(where: { $0.id == wanted }) else {
            throw BackendError(
                .invalidArgument, "disk.volume", "\(path) has no volume '\(wanted)', it has: \(names)", blame: .caller)
        }
        return wanted
    }
    let known = volumes.filter { $0.fileSystem != nil && $0.fileSystem != "swap" }
    // A backend that shows logical volumes shows what holds them too; one that does not leaves the choice to the next.
    let logical = known.filter { $0.fileSystem != "LVM2_member" }
    let usable = logical.isEmpty ? known : logical
    guard let only = usable.first, usable.count == 1 else {
        let hint = volumes.isEmpty ? "it has no file system that is known" : "choose one with --volume: \(names)"
        throw BackendError(.invalidArgument, "disk.volume", "\(path): \(hint)", blame: .caller)
    }
    return only.id
}

/// The writable facet, or why there is none.
func writable(_ filesystem: any GuestFilesystem, _ path: String) throws -> any WritableFilesystem {
    guard let writable = filesystem.writable else {
        throw BackendError(.unsupported, "disk.write", "the backend cannot write to \(path); name another with --disk")
    }
    return writable
}
