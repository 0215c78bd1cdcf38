import Abstractions
import AnyvisorKit
import Host
import VirtualDisk

/// Measures a disk backend on a fresh image of a format: open, list, read 1 KiB, a large file and a tree of small ones, both ways.
///
/// Each measurement starts the backend's process anew, and has an image of its own; what is timed are the calls, each write with its
/// commit.
public struct DiskExperiment: Experiment {
    private let catalogue: Catalogue
    private let scope: RunScope

    private static let largeFile = 64 << 20
    private static let smallFiles = 500
    private static let smallFile = 2048
    private static let imageSize = ByteCount.mib(256)

    /// - Parameter scope: the command's own; images lie in it while they are measured.
    package init(_ catalogue: Catalogue, in scope: RunScope) {
        self.catalogue = catalogue
        self.scope = scope
    }

    /// One measurement; see `Experiment`.
    public func measure(_ cell: Cell, into folder: HostPath) async -> Measurement {
        guard let disk = cell.levels["disk"], let format = cell.levels["format"] else {
            return Measurement(why: "the design names no disk backend or no format")
        }
        let place = scope.work.appending("disk-experiment")
        do {
            try HostFiles.removeTree(place)
            try HostFiles.makeDirectories(place)
            let image = try await Self.image(in: place, ImageFormat(format))
            try await Self.makeSources(in: place)
            let meter = ProcessMeter()
            let watch = Task { await meter.watch() }
            defer { watch.cancel() }
            var measurement = Measurement()
            let begin = ContinuousClock.now
            let access = try await catalogue.disk(disk)
            do {
                measurement.versions = [disk: try await access.info().version]
                measurement.values = try await Self.times(access, image, place)
            } catch {
                await access.close()
                throw error
            }
            await access.close()
            measurement.values["total"] = Quantity(begin.duration(to: .now).inSeconds, "s")
            measurement.values.merge(meter.values()) { $1 }
            try HostFiles.removeTree(place)
            return measurement
        } catch {
            try? HostFiles.removeTree(place)
            return Measurement(why: BackendError.wrapping(error, "compare").message)
        }
    }

    /// There is no raw data but the numbers: what was read is checked against what was written as it is measured.
    public func differences(_ first: HostPath, _ second: HostPath) throws -> [String] { [] }

    /// Ends what was kept between measurements.
    public func close() async {}

    private static func image(in place: HostPath, _ format: ImageFormat) async throws -> DiskImage {
        let raw = place.appending("filesystem.raw")
        let image = DiskImage(path: place.appending("disk.\(format)"), format: format)
        try VirtualDisk.create(DiskImage(path: raw, format: .raw), size: imageSize)
        _ = try await Tool.check("mke2fs", ["-q", "-F", "-t", "ext4", raw.string])
        try await onOwnThread { Result { try VirtualDisk.importRaw(raw, as: image) } }.get()
        return image
    }

    private static func makeSources(in place: HostPath) async throws {
        let tree = place.appending("tree")
        try HostFiles.makeDirectories(tree)
        var bytes = (0..<smallFile).map { UInt8(truncatingIfNeeded: $0 &* 131) }
        for number in 0..<smallFiles {
            bytes[0] = UInt8(truncatingIfNeeded: number)
            try HostFiles.write(bytes, to: tree.appending("file-\(number)"))
        }
        let part = (0..<(1 << 16)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
        let large = (0..<(largeFile >> 16)).flatMap { _ in part }
        try HostFiles.write(large, to: place.appending("large"))
    }

    private static func times(
        _ access: any DiskAccess, _ image: DiskImage, _ place: HostPath
    ) async throws -> [String: Quantity] {
        var values: [String: Quantity] = [:]
        func timed<Value>(_ name: String, _ body: () async throws -> Value) async throws -> Value {
            let begin = ContinuousClock.now
            let value = try await body()
            values[name] = Quantity(begin.duration(to: .now).inSeconds, "s")
            return value
        }
        let (large, tree) = (place.appending("large"), place.appending("tree"))
        try await timed("put.large") { try await put(access, image, large, "/large") }
        try await timed("put.tree") { try await put(access, image, tree, "/tree") }
        let (session, filesystem) = try await timed("open") { try await opened(access, image, .readOnly) }
        let listed = try await timed("list") { try await filesystem.list("/tree", after: nil).entries.count }
        let piece = try await timed("read") { try await filesystem.read("/large", offset: 0, count: 1024) }
        func copy(_ name: String) async throws {
            _ = try await filesystem.copyOut(
                GuestPath("/\(name)"), to: place.appending("back-\(name)"), policy: .faithful, progress: .none)
        }
        try await timed("get.large") { try await copy("large") }
        try await timed("get.tree") { try await copy("tree") }
        try await session.close()
        try await check(listed == smallFiles && piece.count == 1024, place)
        return values
    }

    private static func opened(
        _ access: any DiskAccess, _ image: DiskImage, _ mode: AccessMode
    ) async throws -> (any DiskSession, any GuestFilesystem) {
        let session = try await access.open(image, mode)
        guard let volume = try await session.volumes().first(where: { $0.fileSystem != nil }) else {
            throw BackendError(.corrupt, "compare", "the backend finds no file system in a fresh \(image.format)")
        }
        return (session, try await session.filesystem(on: volume.id))
    }

    private static func put(
        _ access: any DiskAccess, _ image: DiskImage, _ source: HostPath, _ target: GuestPath
    ) async throws {
        let (session, filesystem) = try await opened(access, image, .readWrite)
        guard let writable = filesystem.writable else {
            throw BackendError(.unsupported, "compare", "the backend does not write to \(image.format)")
        }
        _ = try await writable.copyIn(source, to: target, options: CopyInOptions(), progress: .none)
        try await session.commit()
        try await session.close()
    }

    /// What came back is what went in: a fast backend that is wrong is not fast.
    private static func check(_ isListed: Bool, _ place: HostPath) async throws {
        let outcome = try await Tool.run(
            "diff", ["-rq", "--", place.appending("tree").string, place.appending("back-tree").string])
        let large = try await Tool.run(
            "cmp", ["--", place.appending("large").string, place.appending("back-large").string])
        guard isListed, outcome.exit == .exited(0), large.exit == .exited(0) else {
            throw BackendError(.corrupt, "compare", "what the backend read is not what it wrote")
        }
    }
}
