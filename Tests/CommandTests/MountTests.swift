import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// What people see below a mount, and what it answers.
@Suite(.serialized, .enabled(if: MountBench.hasFuse, "FUSE is not usable here"))
struct MountTests {
    private static let size = (4 << 20) + 512
    /// Two primary partitions, an extended one, and a logical one of an odd number of sectors.
    private static let logical =
        "label: dos\n1: start=63, size=129\n2: start=2048, size=4096, type=5\n5: start=2111, size=101\n"
    private static let table = "label: gpt\nfirst-lba: 34\n1: start=64, size=7, name=one\n9: start=100, size=1001\n"

    @Test(arguments: [
        (logical, ["Partition1": (63, 129), "Partition5": (2111, 101)]),
        (table, ["Partition1": (64, 7), "Partition9": (100, 1001)]),
    ])
    func `the whole disk and each partition are files of exactly their size and content`(
        _ table: String, _ partitions: [String: (start: Int, count: Int)]
    ) async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            try await bench.partition(table)
            let content = try HostFiles.read(bench.image)
            try await bench.mount()
            #expect(HostFiles.size(bench.point.appending("EntireDisk")) == Int64(MountTests.size))
            #expect(try HostFiles.read(bench.point.appending("EntireDisk")) == content)
            for (name, place) in partitions {
                let range = place.start * 512..<(place.start + place.count) * 512
                #expect(HostFiles.size(bench.point.appending(name)) == Int64(range.count))
                #expect(try HostFiles.read(bench.point.appending(name)) == Array(content[range]))
            }
            let names = HostFiles.names(in: bench.point).filter { !$0.hasPrefix("Partition2") }
            #expect(names == ["EntireDisk"] + partitions.keys.sorted())
            try await bench.unmount()
            #expect(try HostFiles.read(bench.image) == content)
        }
    }

    @Test func `a mount is read-only unless asked, and says so with EROFS`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            let before = try HostFiles.read(bench.image)
            try await bench.mount()
            #expect(OpenFile(bench.point.appending("EntireDisk"), O_RDWR).descriptor == -EROFS)
            #expect(truncate(bench.point.appending("EntireDisk").string, 0) != 0)
            try await bench.unmount()
            #expect(try HostFiles.read(bench.image) == before)
        }
    }

    @Test func `a partition and the whole disk, both open, show each other's writes at once`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            try await bench.partition(MountTests.logical)
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            let part = OpenFile(bench.point.appending("Partition5"), O_RDWR)
            _ = (disk.bytes(at: 2111 * 512, count: 4096), part.bytes(at: 0, count: 4096))
            #expect(part.write([1, 2, 3], at: 701) == 0)
            #expect(disk.bytes(at: 2111 * 512 + 701, count: 3) == [1, 2, 3])
            #expect(disk.write([7, 8, 9], at: 2111 * 512 + 100 * 512 + 509) == 0)
            #expect(part.bytes(at: 100 * 512 + 509, count: 3) == [7, 8, 9])
            disk.close()
            part.close()
            try await bench.unmount()
        }
    }

    @Test func `a sync puts what was written into the image`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.write(Array("written".utf8), at: 5000) == 0)
            #expect(try HostFiles.read(bench.image)[5000..<5007] != ArraySlice("written".utf8))
            #expect(disk.sync() == 0)
            #expect(try HostFiles.read(bench.image)[5000..<5007] == ArraySlice("written".utf8))
            #expect(disk.write(Array("closed".utf8), at: 6000) == 0)
            #expect(disk.close() == 0)
            #expect(try HostFiles.read(bench.image)[6000..<6006] == ArraySlice("closed".utf8))
            try await bench.unmount()
        }
    }

    @Test func `a disk that is written by dd is in the image, whatever its format`() async throws {
        try await MountBench.with("disk.vdi") { bench in
            let source = bench.folder.appending("source")
            _ = try await Tool.check("sh", ["-c", "head -c \((3 << 20) + 1536) /dev/urandom >\(source)"])
            #expect(try await bench.run("disk", "import", bench.image.string, source.string).status == 0)
            _ = try await Tool.check("sh", ["-c", "head -c \((3 << 20) + 1536) /dev/urandom >\(source)"])
            try await bench.mount("--read-write")
            let copy = ["if=\(source)", "of=\(bench.point)/EntireDisk", "bs=1M", "conv=notrunc,fsync", "status=none"]
            _ = try await Tool.check("dd", copy)
            _ = try await Tool.check("cmp", [source.string, bench.point.appending("EntireDisk").string])
            try await bench.unmount()
            let exported = bench.folder.appending("exported")
            #expect(try await bench.run("disk", "export", bench.image.string, exported.string).status == 0)
            _ = try await Tool.check("cmp", [source.string, exported.string])
            _ = try await Tool.check("qemu-img", ["check", "-q", bench.image.string])
        }
    }

    @Test func `the size is fixed, and the folder too`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            let before = try HostFiles.read(bench.image)
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.resize(to: MountTests.size) == 0)
            #expect(disk.resize(to: MountTests.size - 1) == EPERM)
            #expect(disk.resize(to: MountTests.size + 1) == ENOSPC)
            #expect(disk.write([1, 2], at: MountTests.size - 1) == ENOSPC)
            #expect(disk.write([1], at: MountTests.size) == ENOSPC)
            #expect(disk.bytes(at: MountTests.size - 1, count: 10).count == 1)
            #expect(disk.bytes(at: MountTests.size, count: 10).isEmpty)
            disk.close()
            // As a device does.
            #expect(OpenFile(bench.point.appending("EntireDisk"), O_WRONLY | O_TRUNC).descriptor >= 0)
            #expect(HostFiles.size(bench.point.appending("EntireDisk")) == Int64(MountTests.size))
            #expect(try HostFiles.read(bench.point.appending("EntireDisk")) == before)
            #expect(OpenFile(bench.point.appending("other"), O_WRONLY | O_CREAT).descriptor == -EPERM)
            #expect(OpenFile(bench.point.appending("other"), O_RDONLY).descriptor == -ENOENT)
            #expect(mkdir(bench.point.appending("other").string, 0o700) == -1 && errno == EPERM)
            #expect(unlink(bench.point.appending("EntireDisk").string) == -1 && errno == EPERM)
            try await bench.unmount()
            #expect(try HostFiles.read(bench.image) == before)
        }
    }

    @Test func `many readers at once all read what is there`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            let content = try HostFiles.read(bench.image)
            try await bench.mount("--read-write")
            let file = bench.point.appending("EntireDisk")
            let equal = await withTaskGroup(of: Bool.self) { group in
                for reader in 0..<8 {
                    group.addTask {
                        await onOwnThread {
                            let disk = OpenFile(file, O_RDONLY)
                            return stride(from: reader * 4099, to: MountTests.size, by: 65_537).allSatisfy { offset in
                                disk.bytes(at: offset, count: 9000) == Array(content[offset...].prefix(9000))
                            }
                        }
                    }
                }
                return await group.reduce(true) { $0 && $1 }
            }
            #expect(equal)
            try await bench.unmount()
        }
    }

    @Test func `a snapshot layer shows what the disk was then, and a parent cannot be written`() async throws {
        try await MountBench.with("chain-layer2.vdi") { bench in
            let fixtures = HostPath(#filePath).parent.parent.appending("Fixtures/images")
            for name in ["chain-base.vdi", "chain-layer1.vdi", "chain-layer2.vdi"] {
                _ = try await Tool.check(
                    "sh", ["-c", "xz -dc \(fixtures.appending(name)).xz >\(bench.folder.appending(name))"])
            }
            let middle = bench.folder.appending("chain-layer1.vdi").string
            // The sums stand in Fixtures/images/manifest.json.
            for (more, sum) in [
                ([], "43ad0a3608e82ac978f08bd438c21fa2725c7756572c243627e854783c0f1ac8"),
                (["--layer", middle], "1de987ca4feb86b178f957dd0def6ee3440ec6956842cb76b4b1b7418b5f9e39"),
            ] {
                if more.isEmpty { try await bench.mount() } else { try await bench.mount(more[0], more[1]) }
                let found = try await Tool.check("sha256sum", [bench.point.appending("EntireDisk").string]).text
                #expect(found.hasPrefix(sum))
                try await bench.unmount()
            }
            let refused = try await bench.run(
                "mount", bench.image.string, bench.point.string, "--layer", middle, "--read-write")
            #expect(refused.status == 2)
            #expect(refused.errors.contains("chain-layer2.vdi"))
        }
    }

    @Test func `what cannot be mounted is said in one line, and nothing is left`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            let nowhere = try await bench.run("mount", bench.image.string, bench.folder.appending("none").string)
            #expect(nowhere.status == 2 && nowhere.errors.contains("is no folder"))
            let full = try await bench.run("mount", bench.image.string, bench.folder.string)
            #expect(full.status == 2 && full.errors.contains("not empty"))
            let missing = try await bench.run("mount", bench.folder.appending("no.vdi").string, bench.point.string)
            #expect(missing.status == 2 && missing.errors.contains("no.vdi"))
            let wrong = try await bench.run("mount", bench.image.string, bench.point.string, "--format", "vdi")
            #expect(wrong.status == 16 && wrong.errors.contains("corrupt"))
            let unknown = try await bench.run("unmount", bench.point.string)
            #expect(unknown.status == 2 && unknown.errors.contains("no image is mounted"))
        }
    }

    @Test func `JSON lists the files`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: MountTests.size)
            try await bench.partition(MountTests.table)
            let answer = try await bench.run("mount", bench.image.string, bench.point.string, "--json")
            #expect(answer.output.contains("\"name\" : \"Partition9\""))
            #expect(answer.output.contains("\"mode\" : \"readOnly\""))
            let ended = try await bench.run("unmount", bench.point.string, "--json")
            #expect(ended.output.contains("\"state\" : \"unmounted\""))
        }
    }
}
