import Abstractions
import Host

extension DiskCases {
    /// Opens an image that must be refused, down to its file system, and compares its bytes before and after.
    private static func refuses(
        _ shape: DiskFixture.Shape, _ context: DiskContext, _ codes: Set<BackendError.Code> = [.corrupt]
    ) async throws {
        let image = try await context.image(shape)
        let before = try await context.fingerprint(image)
        let files = HostFiles.names(in: context.folder)
        for mode in [AccessMode.readOnly, .readWrite] where mode == .readOnly || context.has(.write) {
            do {
                try await context.with(image, mode) { _, filesystem in _ = try await filesystem.stat(.root) }
                throw ConformanceFailure("an image that is \(shape.rawValue) was opened \(mode.rawValue)")
            } catch let error as BackendError {
                try expect(codes.contains(error.code), "\(mode.rawValue): wanted \(codes), got \(error)")
            }
            try expectEqual(try await context.fingerprint(image), before, "fingerprint after \(mode.rawValue)")
            try expectEqual(HostFiles.names(in: context.folder), files, "files beside the image")
        }
    }

    static let images = [
        state("images", "a file that is no image is refused, untouched") { context in
            guard context.fixture.format != .raw else { throw ConformanceSkip("any file is a raw image") }
            try await refuses(.garbage, context)
        },
        state("images", "a truncated image is refused with corrupt, untouched") { context in
            try await refuses(.truncated, context)
        },
        state("images", "a dirty journal is refused with corrupt, untouched") { context in
            try await refuses(.dirty, context)
        },
        state("images", "a file system marked as damaged is refused with corrupt, untouched") { context in
            try await refuses(.damaged, context)
        },
        state("images", "an empty file is refused, untouched") { context in
            guard context.fixture.format != .folder else { throw ConformanceSkip("a folder is no file") }
            let image = DiskImage(path: try context.hostFile("empty", []), format: context.fixture.format)
            for mode in [AccessMode.readOnly, .readWrite] where mode == .readOnly || context.has(.write) {
                do {
                    try await context.with(image, mode) { _, _ in }
                    throw ConformanceFailure("a file system was found in an empty file")
                } catch is BackendError {
                } catch let failure as ConformanceFailure where failure.description.hasPrefix("no volume") {
                    // An empty raw disk that opens and has no volumes is honest too.
                }
                try expectEqual(HostFiles.size(image.path), 0, "size of the file")
            }
        },
        state("images", "an image opens for writing exactly when that is declared, and a refusal is clear") { context in
            let image = try await context.image()
            if context.has(.write) {
                return try await context.with(image, .readWrite) { _, filesystem in
                    try expect(filesystem.writable != nil, "no writable facet in a session open for writing")
                }
            }
            let before = try await context.fingerprint(image)
            let error = try await expectError(.unsupported, from: "open for writing") {
                try await context.backend.open(image, .readWrite)
            }
            try expect(error.message.contains(image.path.string), "the image is not named: \(error.message)")
            try expectEqual(try await context.fingerprint(image), before, "fingerprint after the refusal")
            try expectEqual(HostFiles.names(in: context.folder), [image.path.name], "files in the image's folder")
            try await context.with(image, .readOnly) { _, filesystem in _ = try await filesystem.stat(.root) }
        },
        state("images", "reading leaves every byte of the image as it was") { context in
            let image = try await context.image()
            let before = try await context.fingerprint(image)
            try await context.with(image, .readOnly) { session, filesystem in
                _ = try await session.volumes()
                _ = try await filesystem.list("/many", after: nil)
                _ = try await filesystem.read("/big.bin", offset: 0, count: 100_000)
                _ = try await filesystem.copyOut(
                    "/tree", to: context.folder.appending("out"), policy: .faithful, progress: .none)
            }
            try expectEqual(try await context.fingerprint(image), before, "fingerprint")
        },
        state("images", "a session leaves no file beside the image") { context in
            let image = try await context.image()
            let before = HostFiles.names(in: context.folder)
            try await context.with(image, .readOnly) { _, filesystem in _ = try await filesystem.stat(.root) }
            if context.has(.write) {
                try await context.with(image, .readWrite) { session, filesystem in
                    try await required(filesystem.writable, "writable").makeDirectory("/new", parents: false)
                    try await session.commit()
                }
            }
            try expectEqual(HostFiles.names(in: context.folder), before, "files in the image's folder")
        },
    ]

    static let volumes = [
        state("volumes", "a file system over the whole disk is one volume with its type and label") { context in
            let volumes = try await context.cell.reading().session.volumes()
            let volume = try required(volumes.first { $0.fileSystem != nil }, "a volume with a file system")
            try expect(
                context.info.fileSystems.contains(volume.fileSystem ?? ""), "\(volume.fileSystem ?? "-") is not in info"
            )
            if context.fixture.format != .folder {
                try expectEqual(volume.id, .whole, "id")
                try expectEqual(volume.label, DiskFixture.label, "label")
                try expectEqual(volume.offset.bytes, 0, "offset")
                try expect(volume.size.bytes >= DiskFixture.size, "size \(volume.size)")
            }
        },
        state("volumes", "a volume that the disk does not have throws notFound") { context in
            let session = try await context.cell.reading().session
            for id: VolumeID in ["p9", "", "/dev/sda1", "../whole"] {
                try await expectError(.notFound, from: "filesystem(on: \(id))") { try await session.filesystem(on: id) }
            }
        },
        state("volumes", "partitions come in the order of the table, the empty one included") { context in
            let image = try await context.image(.partitioned)
            try await context.with(image, .readOnly) { session, filesystem in
                let volumes = try await session.volumes()
                try expectEqual(volumes.map(\.id), [.partition(1), .partition(2)], "volumes")
                try expect(volumes[0].fileSystem != nil && volumes[1].fileSystem == nil, "file systems \(volumes)")
                let end = volumes[0].offset.bytes + volumes[0].size.bytes
                try expect(end <= volumes[1].offset.bytes, "volumes overlap: \(volumes)")
                try expectEqual(
                    try await context.content("/hello.txt", in: filesystem), StandardTree.hello, "/hello.txt")
            }
        },
        state("volumes", "an empty volume has no file system: unsupported") { context in
            let image = try await context.image(.partitioned)
            try await context.with(image, .readOnly) { session, _ in
                try await expectError(.unsupported, from: "filesystem(on: p2)") {
                    try await session.filesystem(on: .partition(2))
                }
            }
        },
        state("volumes", "a commit into a partition leaves the table and its neighbour alone", needs: [.write]) {
            context in
            let image = try await context.image(.partitioned)
            let host = try context.hostFile("new", Array("in a partition\n".utf8))
            let before = try await context.with(image, .readWrite) { session, filesystem in
                let volumes = try await session.volumes()
                _ = try await required(filesystem.writable, "writable").copyIn(
                    host, to: "/new", options: CopyInOptions(), progress: .none)
                try await session.commit()
                return volumes
            }
            try await context.with(image, .readOnly) { session, filesystem in
                try expectEqual(try await session.volumes(), before, "volumes")
                try expectEqual(
                    try await context.content("/new", in: filesystem), Array("in a partition\n".utf8), "/new")
            }
        },
    ]
}
