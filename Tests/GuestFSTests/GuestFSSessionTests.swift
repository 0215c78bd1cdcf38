import Abstractions
import GuestFSBackend
import Host
import Testing

extension ApplianceTests {
    @Suite
    struct GuestFSSessionTests {
        /// Makes a small image and the backend, and removes both.
        private func withDisk(_ body: (HostPath, DiskImage, any DiskAccess) async throws -> Void) async throws {
            let folder = try RunScope.makeProcessFolder("guestfs-test")
            let image = DiskImage(path: folder.appending("disk.img"), format: .raw)
            _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", image.path.string, "16M"])
            guard case .disk(let make) = GuestFSBackend.descriptor.factory else { return }
            let access = try await make(try OptionValues(["kvm": "false"], declared: GuestFSBackend.descriptor.options))
            do {
                try await body(folder, image, access)
            } catch {
                await access.close()
                try? HostFiles.removeTree(folder)
                throw error
            }
            await access.close()
            try HostFiles.removeTree(folder)
        }

        @Test("Volumes are told without starting the appliance")
        func volumesAreCheap() async throws {
            try await withDisk { _, image, access in
                try await requireAppliance(access)
                let session = try await access.open(image, .readOnly)
                let begun = ContinuousClock.now
                #expect(try await session.volumes().map(\.fileSystem) == ["ext4"])
                #expect(ContinuousClock.now - begun < .seconds(1))
                try await session.close()
            }
        }

        @Test("A dirty journal is refused before the appliance sees it")
        func dirtyJournal() async throws {
            try await withDisk { _, image, access in
                try await requireAppliance(access)
                _ = try await Tool.check("debugfs", ["-w", "-R", "feature needs_recovery", image.path.string])
                let before = try HostFiles.read(image.path)
                let session = try await access.open(image, .readWrite)
                let failure = await #expect(throws: BackendError.self) { try await session.filesystem(on: .whole) }
                #expect(failure?.code == .corrupt)
                try await session.close()
                #expect(try HostFiles.read(image.path) == before)
            }
        }

        @Test("A tree goes in as it is, survives the commit, and e2fsck finds nothing", .timeLimit(.minutes(3)))
        func roundTrip() async throws {
            try await withDisk { folder, image, access in
                try await requireAppliance(access)
                let tree = folder.appending("tree")
                try HostFiles.makeDirectories(tree.appending("sub"))
                try HostFiles.write(Array("hello".utf8), to: tree.appending("file"), mode: 0o640)
                _ = try await Tool.check("ln", [tree.appending("file").string, tree.appending("sub/same").string])
                _ = try await Tool.check("truncate", ["-s", "3M", tree.appending("hole").string])
                let before = try HostFiles.read(image.path)
                let session = try await access.open(image, .readWrite)
                let filesystem = try await session.filesystem(on: .whole)
                let writable = try #require(filesystem.writable)
                _ = try await writable.copyIn(
                    tree, to: "/tree", options: CopyInOptions(uid: 7, gid: 8), progress: .none)
                #expect(try HostFiles.read(image.path) == before)
                try await session.commit()
                #expect(try await Tool.run("e2fsck", ["-fn", image.path.string]).exit == .exited(0))
                let first = try await filesystem.stat("/tree/file")
                #expect(first.mode == 0o640 && first.uid == 7 && first.gid == 8 && first.links == 2)
                let hole = try await Tool.check("debugfs", ["-R", "stat /tree/hole", image.path.string]).text
                #expect(hole.contains("Size: 3145728") && hole.contains("Blockcount: 0"))
                try await session.close()
            }
        }

        /// - Throws: the reason why the appliance cannot run here, which skips the test.
        private func requireAppliance(_ access: any DiskAccess) async throws {
            if let bad = try await access.check(.presence).first(where: { $0.isObstacle }) {
                try Test.cancel("\(bad.detail)")
            }
        }
    }
}
