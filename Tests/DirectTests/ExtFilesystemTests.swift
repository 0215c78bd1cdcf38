import Abstractions
import BackendSupport
import Host
import Testing

@testable import DirectBackend

@Suite struct ExtFilesystemTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    @Test(arguments: [
        "-t ext4", "-t ext4 -b 1024", "-t ext3", "-t ext2 -b 1024", "-t ext4 -O ^metadata_csum,^64bit",
        "-t ext2 -O ^filetype -I 128", "-t ext4 -O ^extents,^64bit",
    ])
    func aTreeThatWentInIsWhatDebugfsReads(options: String) async throws {
        let image = try await makeImage(folder, "128M", options)
        let tree = folder.file("tree")
        _ = try await shell(
            """
            set -e; mkdir -p \(tree)/a/b; cd \(tree)
            head -c 3000000 /dev/urandom > a/big; echo hello > a/b/small; : > empty
            truncate -s 20M sparse; printf x | dd of=sparse bs=1 seek=15000000 conv=notrunc status=none
            ln -s a/b/small short; ln -s $(printf 'y%.0s' {1..200}) long; ln a/big a/b/again; mkfifo pipe
            for i in {1..700}; do echo $i > a/b/name-number-$i; done
            chmod 4755 a/b/small; chown 1234:70000 a/b/small; touch -d '2030-02-03 04:05:06.123456789' a/b/small
            """)
        let format = options.contains("-I 128") || options.contains("-t ext2 -b") ? "%TY" : "%T@"
        let list =
            "find . ! -type p -printf '%P %y %m %U %G %l %n \(format)\\n' | sort; find . -type f | sort | xargs md5sum"
        let expected = try await shell("cd \(tree); \(list)")
        let filesystem = try openRaw(image)
        let report = try filesystem.copyIn(
            tree, to: "/tree", options: CopyInOptions(), progress: .none, cancellation: CancellationFlag())
        try filesystem.flush()
        #expect(report.refused == [RefusedEntry(path: "pipe", reason: "pipe")])
        try await fsck(image)
        let out = folder.file("out")
        _ = try await shell("mkdir \(out); debugfs -R 'rdump /tree \(out)' \(image); rm \(tree)/pipe")
        _ = try await shell("diff -r --no-dereference \(tree) \(out)/tree")
        let back = folder.file("back")
        _ = try openRaw(image).copyOut(
            "/tree", to: back, policy: .faithful, progress: .none, cancellation: CancellationFlag())
        #expect(try await shell("cd \(back); \(list)") == expected)
        #expect(try await shell("stat -c %b \(back)/sparse") == shell("stat -c %b \(tree)/sparse"))
    }

    @Test("A file of many extents reads the same in pieces, wherever they begin", arguments: ["-b 1024", "-b 4096"])
    func manyExtents(options: String) async throws {
        let image = try await makeImage(folder, "64M", "-t ext4 \(options)")
        let file = folder.file("file")
        _ = try await shell(
            """
            set -e; head -c 8M /dev/urandom > \(file)
            for i in {0..900}; do fallocate -p -o $((i * 8192)) -l 4096 \(file); done
            debugfs -w -R 'write \(file) file' \(image)
            """)
        let extents = try await shell("debugfs -R 'extents /file' \(image) 2>/dev/null | wc -l")
        #expect(try #require(Int(extents.split(separator: "\n")[0])) > 500)
        let expected = try HostFiles.read(file)
        let filesystem = try openRaw(image)
        for piece in [65_536, 1_000_003, 8 << 20] {
            var read: [UInt8] = []
            while read.count < expected.count {
                read += try filesystem.read("/file", offset: Int64(read.count), count: piece)
            }
            #expect(read == expected)
        }
    }
}
