import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension DiskCases {
    private static func copy(
        _ host: HostPath, to path: GuestPath, _ writable: any WritableFilesystem, _ options: CopyInOptions = .init(),
        _ progress: ProgressSink = .none
    ) async throws -> CopyReport {
        try await writable.copyIn(host, to: path, options: options, progress: progress)
    }

    static let copyIn = [
        state("copy in", "a file keeps its bytes, mode and time, before any commit", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            let bytes = pattern(5_000_003, seed: 11)
            let host = try context.hostFile("file", bytes)
            chmod(host.string, 0o751)
            let time = timespec(tv_sec: 1_111_111_111, tv_nsec: 0)
            utimensat(AT_FDCWD, host.string, [time, time], 0)
            let report = try await copy(host, to: base.appending("f"), writable)
            try expectEqual(report.files, 1, "files in the report")
            try expectEqual(report.bytes, Int64(bytes.count), "bytes in the report")
            let stat = try await filesystem.stat(base.appending("f"))
            try expectEqual(stat.size.bytes, Int64(bytes.count), "size")
            try expectEqual(stat.mode, 0o751, "mode")
            try expectEqual(stat.modifiedNanoseconds / 1_000_000_000, 1_111_111_111, "time")
            try expect(try await context.content(base.appending("f"), in: filesystem) == bytes, "the bytes differ")
        },
        state("copy in", "owners are the host's, or those that were asked for", needs: [.write, .ownership]) {
            context in
            let (filesystem, writable, base) = try await context.changing()
            let host = try context.hostFile("file", [1])
            let mine = try required(HostTree.look(host), "the file")
            _ = try await copy(host, to: base.appending("mine"), writable)
            try expectEqual(try await filesystem.stat(base.appending("mine")).uid, mine.uid, "uid of the host")
            _ = try await copy(host, to: base.appending("set"), writable, CopyInOptions(uid: 123, gid: 70_000))
            try expectEqual(try await filesystem.stat(base.appending("set")).uid, 123, "uid")
            try expectEqual(try await filesystem.stat(base.appending("set")).gid, 70_000, "gid")
        },
        state("copy in", "a tree keeps its shape, modes, times, links and content", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            let host = try context.hostTree("host", StandardTree.make(specials: false))
            let top = base.appending("t")
            _ = try await copy(host.appending("tree"), to: top, writable)
            let names = try await context.entries(top, in: filesystem).map(\.name)
            try expectEqual(names, ["a", "b.sh", "sub"], "names")
            try expectEqual(try await filesystem.stat(top).mode, 0o750, "mode of the top")
            try expectEqual(try await filesystem.stat(top.appending("sub")).mode, 0o711, "mode of sub")
            try expectEqual(try await filesystem.stat(top.appending("sub/suid")).mode, 0o6755, "mode of sub/suid")
            try expectEqual(try await filesystem.stat(top.appending("sub/up")).target, "../a", "target of sub/up")
            let seconds = try await filesystem.stat(top.appending("a")).modifiedNanoseconds / 1_000_000_000
            try expectEqual(seconds, 1_500_000_001, "time of a")
            let content = try await context.content(top.appending("sub/c"), in: filesystem)
            try expect(content == pattern(70_000, seed: 3), "sub/c differs")
        },
        state("copy in", "two names of one file stay one file", needs: [.write, .hardLinks]) { context in
            let (filesystem, writable, base) = try await context.changing()
            let host = try context.hostTree("host", StandardTree.make(specials: false))
            _ = try await copy(host.appending("tree"), to: base.appending("t"), writable)
            try expectEqual(try await filesystem.stat(base.appending("t/a")).links, 2, "links of a")
            try expectEqual(
                try await filesystem.stat(base.appending("t/sub/deeper/a-again")).links, 2, "links of the other")
        },
        state("copy in", "holes stay holes", needs: [.write, .sparse]) { context in
            let (filesystem, writable, base) = try await context.changing()
            var tree = FixtureTree()
            // Larger than the whole image: it fits only as a hole.
            tree.sparse("/huge", size: 200 << 20, StandardTree.sparseBytes, at: 150 << 20)
            let host = try context.hostTree("host", tree)
            _ = try await copy(host.appending("huge"), to: base.appending("huge"), writable)
            try expectEqual(try await filesystem.stat(base.appending("huge")).size.bytes, 200 << 20, "size")
            let data = try await filesystem.read(base.appending("huge"), offset: 150 << 20, count: 4_096)
            try expect(data == StandardTree.sparseBytes, "the data differs")
        },
        state("copy in", "hard names keep their bytes", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            let host = try context.hostTree("host", StandardTree.make(specials: false))
            _ = try await copy(host.appending("names"), to: base.appending("names"), writable)
            let names = try await context.entries(base.appending("names"), in: filesystem).map {
                GuestPath.bytes(of: $0.name)
            }
            try expectEqual(Set(names), Set(StandardTree.hardNames.map { GuestPath.bytes(of: $0) }), "names")
        },
        state("copy in", "empty files and folders arrive", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            var tree = FixtureTree()
            tree.folder("/f", mode: 0o711)
            tree.folder("/f/inner")
            tree.file("/f/empty", [])
            let host = try context.hostTree("host", tree)
            _ = try await copy(host.appending("f"), to: base.appending("f"), writable)
            try expectEqual(try await filesystem.stat(base.appending("f/empty")).size.bytes, 0, "size")
            try expectEqual(try await filesystem.stat(base.appending("f/inner")).kind, .directory, "kind")
        },
        state("copy in", "a file replaces a file", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            _ = try await copy(try context.hostFile("long", pattern(100_000)), to: base.appending("f"), writable)
            _ = try await copy(try context.hostFile("short", Array("short".utf8)), to: base.appending("f"), writable)
            let content = try await context.content(base.appending("f"), in: filesystem)
            try expectEqual(content, Array("short".utf8), "content")
        },
        state("copy in", "a tree merges into a folder", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            var first = FixtureTree()
            first.folder("/sub")
            first.file("/sub/kept", Array("kept".utf8))
            first.file("/sub/replaced", Array("old".utf8))
            var second = FixtureTree()
            second.folder("/sub")
            second.file("/sub/replaced", Array("new".utf8))
            second.file("/sub/added", Array("added".utf8))
            _ = try await copy(try context.hostTree("one", first), to: base.appending("t"), writable)
            _ = try await copy(try context.hostTree("two", second), to: base.appending("t"), writable)
            for (name, text) in [("kept", "kept"), ("replaced", "new"), ("added", "added")] {
                let content = try await context.content(base.appending("t/sub/\(name)"), in: filesystem)
                try expectEqual(content, Array(text.utf8), name)
            }
        },
        state("copy in", "a folder and a file never replace each other", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            let file = try context.hostFile("file", [1])
            let folder = try context.hostTree("folder", FixtureTree())
            _ = try await copy(file, to: base.appending("f"), writable)
            _ = try await copy(folder, to: base.appending("d"), writable)
            try await expectError(.invalidArgument, from: "a folder over a file") {
                try await copy(folder, to: base.appending("f"), writable)
            }
            try await expectError(.invalidArgument, from: "a file over a folder") {
                try await copy(file, to: base.appending("d"), writable)
            }
            try expectEqual(try await filesystem.stat(base.appending("f")).kind, .file, "the file")
            try expectEqual(try await filesystem.stat(base.appending("d")).kind, .directory, "the folder")
        },
        state("copy in", "a missing host path or guest folder is notFound", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await expectError(.notFound, from: "a missing host path") {
                try await copy(context.folder.appending("missing"), to: base.appending("x"), writable)
            }
            let file = try context.hostFile("file", [1])
            try await expectError(.notFound, from: "a missing guest folder") {
                try await copy(file, to: base.appending("no/x"), writable)
            }
            try expect(try await !context.exists(base.appending("x"), in: filesystem), "something was made")
            try expect(try await !context.exists(base.appending("no"), in: filesystem), "the folder was made")
        },
        state("copy in", "pipes are skipped and listed", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            var tree = FixtureTree()
            tree.file("/plain", [1])
            let host = try context.hostTree("host", tree)
            mkfifo(host.appending("pipe").string, 0o644)
            let report = try await copy(host, to: base.appending("t"), writable)
            try expectEqual(report.refused.map(\.path), ["pipe"], "refused")
            let names = try await context.entries(base.appending("t"), in: filesystem).map(\.name)
            try expectEqual(names, ["plain"], "names")
        },
        state("copy in", "a host link is copied as a link, not followed", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            let link = context.folder.appending("link")
            symlink("/etc/passwd", link.string)
            _ = try await copy(link, to: base.appending("l"), writable)
            try expectEqual(try await filesystem.stat(base.appending("l")).target, "/etc/passwd", "target")
        },
        state("copy in", "1,500 small files arrive, each with its content", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            var tree = FixtureTree()
            for number in 0..<1_500 { tree.file(GuestPath("/file-\(number)"), Array("\(number)".utf8)) }
            let report = try await copy(try context.hostTree("host", tree), to: base.appending("t"), writable)
            try expectEqual(report.files, 1_500, "files in the report")
            let names = try await context.entries(base.appending("t"), in: filesystem).map(\.name)
            try expectEqual(names.count, 1_500, "names")
            for number in [0, 777, 1_499] {
                let content = try await context.content(base.appending("t/file-\(number)"), in: filesystem)
                try expectEqual(content, Array("\(number)".utf8), "file-\(number)")
            }
        },
        state("copy in", "progress never goes back, and ends at all bytes", needs: [.write]) { context in
            let (_, writable, base) = try await context.changing()
            let log = ProgressLog()
            let host = try context.hostTree("host", StandardTree.make(specials: false))
            let report = try await copy(host.appending("tree"), to: base.appending("t"), writable, .init(), log.sink)
            try log.checkForward()
            try expectEqual(log.all.last?.bytes ?? 0, report.bytes, "bytes of the last step")
        },
        state("copy in", "what does not fit is noSpace, and the disk still works", needs: [.write]) { context in
            guard context.fixture.format != .folder else { throw ConformanceSkip("a folder has the host's room") }
            let image = try await context.image()
            let before = try await context.sight(image)
            let host = try context.hostFile("too-large", pattern(60 << 20))
            try await context.with(image, .readWrite) { _, filesystem in
                let writable = try required(filesystem.writable, "writable")
                try await expectError(.noSpace, from: "60 MiB into a disk of 48") {
                    try await copy(host, to: "/large", writable)
                }
                try expectEqual(try await filesystem.stat("/hello.txt").kind, .file, "the session afterwards")
            }
            try await context.expectSight(image, before)
        },
    ]
}
