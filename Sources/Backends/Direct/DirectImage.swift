import Abstractions
import BackendSupport
import VirtualDisk

/// An open image with its file systems; lives on its session's thread.
///
/// Not `Sendable` by itself: libext2fs's handles know no threads. `DirectSession` keeps it on one.
final class DirectImage {
    private let disk: VirtualDisk
    private var transaction: DiskTransaction?
    private let volumes: [Volume]
    private var open: [VolumeID: (volume: Volume, device: VolumeDevice, filesystem: ExtFilesystem)] = [:]
    private var failure: BackendError?

    init(_ image: DiskImage, _ mode: AccessMode) throws {
        disk = try VirtualDisk.open(image, mode)
        volumes = try disk.volumes()
        if mode == .readWrite { transaction = try disk.begin() }
    }

    deinit { transaction?.abort() }

    /// The device of the moment: staged content when writing, else what is committed.
    private var device: any BlockDevice { transaction ?? disk.content }

    /// Partitions and whole-disk file systems; an uncommitted change of a label does not show.
    func listVolumes() -> [Volume] { volumes }

    /// The file system on a volume, opened when first asked for.
    func filesystem(_ id: VolumeID) throws -> ExtFilesystem {
        if let present = open[id] { return present.filesystem }
        guard let volume = volumes.first(where: { $0.id == id }) else {
            throw BackendError(
                .notFound, "disk.filesystem",
                "\(disk.image.path) has no volume \(id); it has \(volumes.map(\.id.rawValue).joined(separator: ", "))",
                backend: "direct", blame: .caller)
        }
        let window = try PartitionWindow(device, volume)
        guard volume.size.bytes >= 2048,
            let gate = ExtGate(try window.bytes(at: ExtGate.offset, count: ExtGate.length))
        else {
            throw BackendError(
                .unsupported, "disk.filesystem",
                "volume \(id) of \(disk.image.path) has \(volume.fileSystem ?? "no file system that is known here"), "
                    + "not ext2, ext3 or ext4", backend: "direct", blame: .disk)
        }
        try gate.checkReadable(volumeSize: volume.size.bytes, name: "\(id) of \(disk.image.path)")
        if transaction != nil { try gate.checkWritable(name: "\(id) of \(disk.image.path)") }
        let device = VolumeDevice(window)
        let filesystem = try ExtFilesystem(
            device, volume: id, writeFresh: transaction == nil ? nil : { try device.writeFresh(at: $0, from: $1) })
        open[id] = (volume, device, filesystem)
        return filesystem
    }

    /// Makes all changes durable and goes on.
    func commit() throws {
        guard let transaction else {
            throw BackendError(.invalidState, "disk.commit", "the session is read-only", backend: "direct")
        }
        if let failure { throw failure }
        for entry in open.values { try entry.filesystem.flush() }
        do {
            try transaction.commit()
            try moveOn()
        } catch {
            let problem = BackendError.wrapping(error, "disk.commit")
            failure = BackendError(
                .invalidState, "disk.commit", "an earlier commit of this session failed; open the image again",
                backend: "direct", causes: [problem])
            throw problem.named("direct")
        }
    }

    private func moveOn() throws {
        let next = try disk.begin()
        transaction = next
        for entry in open.values {
            entry.device.move(to: try PartitionWindow(next, entry.volume))
            try entry.filesystem.rememberBlocks()
        }
    }
}
