import Abstractions
import Host
import Testing

@testable import VDFuseBackend

#if canImport(Glibc)
    import Glibc
#endif

extension MountTests {
    /// File systems that no library of ours reads: made, written to, checked and read by their own tools.
    @Suite struct FileSystemTests {
        private struct Kind {
            var type: String
            var make: [String]
            var size: String
            /// Looks for damage and changes nothing; gets the image as its last word.
            var check: [String]

            /// Not a multiple of a block, as most disks are not.
            static let xfs = Kind(
                type: "xfs", make: ["mkfs.xfs", "-q"], size: "314573312", check: ["xfs_repair", "-n"])
            static let btrfs = Kind(
                type: "btrfs", make: ["mkfs.btrfs", "-q"], size: "134218240", check: ["btrfs", "check"])
            static let fat = Kind(type: "vfat", make: ["mkfs.vfat"], size: "16777728", check: ["fsck.vfat", "-n"])
            static let ntfs = Kind(
                type: "ntfs", make: ["mkntfs", "-F", "-Q", "-q"], size: "16777728", check: ["ntfsfix", "-n"])

            /// Whether it can be shown here.
            var isUsable: Bool {
                (try? Mounter.choose(nil, for: type)) != nil && HostEnvironment.program(make[0]) != nil
                    && HostEnvironment.program(check[0]) != nil
            }
        }

        @Test(.enabled(if: Kind.xfs.isUsable, "SKIPPED: takes root, XFS in the kernel and xfsprogs"))
        func `XFS is written and read like ext`() async throws { try await roundTrip(.xfs) }

        @Test(.enabled(if: Kind.btrfs.isUsable, "SKIPPED: takes root, btrfs in the kernel and btrfs-progs"))
        func `btrfs is written and read like ext`() async throws { try await roundTrip(.btrfs) }

        @Test(.enabled(if: Kind.fat.isUsable, "SKIPPED: takes root, vfat in the kernel and dosfstools"))
        func `FAT is written and read like ext`() async throws { try await roundTrip(.fat) }

        @Test(.enabled(if: Kind.ntfs.isUsable, "SKIPPED: takes root and ntfs-3g"))
        func `NTFS is written and read like ext`() async throws { try await roundTrip(.ntfs) }

        private func roundTrip(_ kind: Kind) async throws {
            try await MountedDisk.with { disk in
                let (image, source) = (disk.image.path.string, disk.folder.appending("source"))
                try HostFiles.removeTree(disk.image.path)
                _ = try await Tool.check("truncate", ["-s", kind.size, image])
                _ = try await Tool.check(kind.make[0], Array(kind.make.dropFirst()) + [image])
                try HostFiles.makeDirectories(source.appending("deep"))
                let content = (0..<300_001).map { UInt8(truncatingIfNeeded: $0 &* 31) }
                try HostFiles.write(content, to: source.appending("file"))
                try HostFiles.write(Array("small".utf8), to: source.appending("deep/small"))
                #expect(try await disk.access.info().fileSystems.contains(kind.type))
                #expect(try await disk.access.probe(disk.image).score > 0)
                let empty = try await Tool.check("sha256sum", [image]).text
                try await disk.write { _, _, writable in try await writable.makeDirectory("/dropped", parents: false) }
                #expect(try await Tool.check("sha256sum", [image]).text == empty)
                try await disk.write { session, filesystem, writable in
                    let report = try await writable.copyIn(
                        source, to: "/tree", options: CopyInOptions(), progress: .none)
                    #expect(report.files == 2)
                    try await writable.rename("/tree/deep/small", to: "/tree/renamed")
                    try await writable.remove("/tree/deep", recursive: true)
                    let owner = MetadataChange(uid: 7)
                    if ["vfat", "ntfs"].contains(kind.type) {
                        let failure = await #expect(throws: BackendError.self) {
                            try await writable.setMetadata("/tree/file", owner)
                        }
                        #expect(failure?.code == .unsupported)
                    } else {
                        try await writable.setMetadata("/tree/file", owner)
                        #expect(try await filesystem.stat("/tree/file").uid == 7)
                    }
                    try await session.commit()
                }
                _ = try await Tool.check(kind.check[0], Array(kind.check.dropFirst()) + [image])
                let session = try await disk.access.open(disk.image, .readOnly)
                #expect(try await session.volumes().first?.fileSystem == kind.type)
                let filesystem = try await session.filesystem(on: .whole)
                #expect(try await filesystem.list("/tree", after: nil).entries.map(\.name) == ["file", "renamed"])
                #expect(try await filesystem.read("/tree/renamed", offset: 0, count: 100) == Array("small".utf8))
                let copy = disk.folder.appending("copy")
                _ = try await filesystem.copyOut("/tree/file", to: copy, policy: .faithful, progress: .none)
                #expect(try HostFiles.read(copy) == content)
                try await session.close()
            }
        }

        @Test(
            .enabled(
                if: (try? Mounter.choose(nil, for: "squashfs")) != nil && HostEnvironment.program("mksquashfs") != nil,
                "SKIPPED: takes root, squashfs in the kernel and squashfs-tools"))
        func `a file system that nobody writes to is read, and refused for writing`() async throws {
            try await MountedDisk.with { disk in
                let source = disk.folder.appending("source")
                try HostFiles.makeDirectories(source)
                try HostFiles.write(Array("read me".utf8), to: source.appending("file"))
                try HostFiles.removeTree(disk.image.path)
                _ = try await Tool.check(
                    "mksquashfs", [source.string, disk.image.path.string, "-quiet", "-no-progress"])
                let session = try await disk.access.open(disk.image, .readOnly)
                let filesystem = try await session.filesystem(on: .whole)
                #expect(try await filesystem.read("/file", offset: 0, count: 100) == Array("read me".utf8))
                try await session.close()
                let writing = try await disk.access.open(disk.image, .readWrite)
                let failure = await #expect(throws: BackendError.self) { try await writing.filesystem(on: .whole) }
                #expect(failure?.code == .unsupported)
                try await writing.close()
            }
        }

        @Test func `an unmount while a client has a file open is in use, and commits once it is closed`() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { session, filesystem, writable in
                    try await writable.makeDirectory("/kept", parents: false)
                    let point = try #require(try await filesystem.mount?.mountPoint())
                    let held = open(point.appending("kept").string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                    #expect(held >= 0)
                    let failure = await #expect(throws: BackendError.self) { try await session.commit() }
                    #expect(failure?.code == .inUse)
                    close(held)
                    try await session.commit()
                }
                #expect(try await disk.debugfs("ls /").contains("kept"))
            }
        }
    }
}
