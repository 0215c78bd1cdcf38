import Abstractions
import GuestFSBackend
import Host
import Testing

extension ApplianceTests {
    @Suite
    struct FileSystemTests {
        @Test(
            "Files go in and come out of xfs, btrfs, vfat and ntfs, damage is refused by name, all with one start",
            .timeLimit(.minutes(5)))
        func others() async throws {
            try await ApplianceLab.with { lab in
                let images = [
                    try await lab.image("xfs", "300M", "mkfs.xfs", ["-q"]),
                    try await lab.image("btrfs", "120M", "mkfs.btrfs", ["-q"]),
                    try await lab.image("vfat", "40M", "mkfs.vfat", ["-F", "32"]),
                    try await lab.image("ntfs", "40M", "mkfs.ntfs", ["-q", "-F", "-f"]),
                ]
                for image in images {
                    #expect(try await lab.access.probe(image).score > 0)
                    try await lab.session(image, .readOnly) { session in
                        let found = try await session.volumes().map(\.fileSystem)
                        #expect(found == [image.path.name])
                    }
                    try await lab.write("in \(image.path.name)", to: "/file.txt", image)
                    #expect(try await lab.read("/file.txt", image) == "in \(image.path.name)")
                }
                try await lab.session(images[2], .readWrite) { session in
                    let writable = try #require(try await session.filesystem(on: .whole).writable)
                    let failure = await #expect(throws: BackendError.self) {
                        try await writable.setMetadata("/file.txt", MetadataChange(uid: 7))
                    }
                    #expect(failure?.code == .unsupported)
                }
                #expect(try await Tool.run("fsck.vfat", ["-n", images[2].path.string]).exit == .exited(0))
                #expect(try await Tool.run("btrfs", ["check", images[1].path.string]).exit == .exited(0))
                #expect(try await Tool.run("xfs_repair", ["-n", "-f", images[0].path.string]).exit == .exited(0))
                try await expectOlderState(lab, images[1])
                try await expectCause(lab, images[0])
                #expect(ApplianceLab.appliances.count == 1)
            }
        }

        @Test("Logical volumes are volumes, read and written like others", .timeLimit(.minutes(3)))
        func logicalVolumes() async throws {
            try await ApplianceLab.with { lab in
                let image = try await lab.fixture("lvm.raw")
                try await lab.session(image, .readOnly) { session in
                    let volumes = try await session.volumes()
                    #expect(volumes.map(\.id) == ["p1", "data/root", "data/swap"])
                    #expect(volumes.map(\.fileSystem) == ["LVM2_member", "ext4", "swap"])
                    #expect(volumes[1].label == "top")
                    #expect(volumes[1].size == .mib(8))
                    let hello = try await session.filesystem(on: "data/root").read("/hello", offset: 0, count: 99)
                    #expect(String(decoding: hello, as: UTF8.self) == "inside a logical volume\n")
                }
                try await lab.write("more", to: "/more", image, "data/root")
                // The partition stands for its only file system.
                #expect(try await lab.read("/more", image, "p1") == "more")
                #expect(ApplianceLab.appliances.count == 1)
            }
        }

        /// The kernel's btrfs remembers the newest state of a disk that it has seen.
        private func expectOlderState(_ lab: ApplianceLab, _ image: DiskImage) async throws {
            let old = try HostFiles.read(image.path, limit: 1 << 30)
            for number in 0..<3 { try await lab.write("new \(number)", to: "/file.txt", image) }
            try HostFiles.write(old, to: image.path)
            #expect(try await lab.read("/file.txt", image) == "in btrfs")
        }

        /// A damaged superblock: what the kernel says of it has to be in the message.
        private func expectCause(_ lab: ApplianceLab, _ image: DiskImage) async throws {
            var bytes = try HostFiles.read(image.path, limit: 1 << 30)
            // A block count that its checksum does not cover any more.
            bytes[15] ^= 1
            try HostFiles.write(bytes, to: image.path)
            let failure = await #expect(throws: BackendError.self) { try await lab.read("/file.txt", image) }
            #expect(failure?.code == .corrupt)
            #expect(failure?.message.contains("XFS") == true)
            #expect(failure?.message.contains("dmesg(1)") == false)
            #expect(try HostFiles.read(image.path, limit: 1 << 30) == bytes)
        }
    }
}
