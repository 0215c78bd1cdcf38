import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension MountTests {
    /// Partitions as files, by the numbers that people know.
    @Suite struct PartitionTests {
        private static let tables = [
            ("label: dos\n1: start=2048, size=2048\n2: start=4096, type=5\n5: start=6144, size=8192\n", 5),
            ("label: gpt\n1: start=2048, size=2048\n9: start=6144, size=8192, name=data\n", 9),
        ]

        @Test(arguments: tables)
        func `a file system on a logical or GPT partition is mounted from its file`(_ table: String, _ number: Int)
            async throws
        {
            try await MountedDisk.with { disk in
                let system = disk.folder.appending("system")
                _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", "-L", "inner", system.string, "4M"])
                try HostFiles.write(Array(table.utf8), to: disk.folder.appending("table"))
                let (image, lines) = (disk.image.path, disk.folder.appending("table"))
                _ = try await Tool.check("sh", ["-c", "wipefs -qa \(image) && sfdisk -q \(image) <\(lines)"])
                _ = try await Tool.check(
                    "dd", ["if=\(system)", "of=\(image)", "bs=512", "seek=6144", "conv=notrunc", "status=none"])
                let session = try await disk.access.open(disk.image, .readWrite)
                let id = VolumeID.partition(number)
                let volume = try await session.volumes().first { $0.id == id }
                #expect(volume?.label == "inner")
                try await session.filesystem(on: id).writable?.makeDirectory("/made", parents: false)
                let shown = MountTable.mounts(below: disk.image.path.parent.parent).map(\.path).first {
                    Set(HostFiles.names(in: $0)).isSuperset(of: ["EntireDisk", "Partition\(number)"])
                }
                #expect(HostFiles.size(try #require(shown).appending("Partition\(number)")) == 4 << 20)
                try await session.commit()
                try await session.close()
                let reading = try await disk.access.open(disk.image, .readOnly)
                #expect(try await reading.filesystem(on: id).stat("/made").kind == .directory)
                try await reading.close()
            }
        }
    }
}
