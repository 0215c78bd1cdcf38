import Abstractions
import Host

extension DiskCases {
    private static func put(
        _ text: String, _ path: GuestPath, _ context: DiskContext, _ filesystem: any GuestFilesystem
    ) async throws {
        let host = try context.hostFile("put", Array(text.utf8))
        _ = try await required(filesystem.writable, "writable").copyIn(
            host, to: path, options: CopyInOptions(), progress: .none)
        try HostFiles.removeTree(host)
    }

    private static func text(_ path: GuestPath, _ context: DiskContext, _ filesystem: any GuestFilesystem) async throws
        -> String
    {
        String(decoding: try await context.content(path, in: filesystem), as: UTF8.self)
    }

    static let commits = [
        state("commits", "what is committed is there for the next session of another backend", needs: [.write]) {
            context in
            let image = try await context.image()
            try await context.with(image, .readWrite) { session, filesystem in
                try await put("first", "/first", context, filesystem)
                try await put("last", "/last", context, filesystem)
                try await session.commit()
            }
            let other = try await context.cell.make()
            defer { Task { await other.close() } }
            try await context.with(image, .readOnly, by: other) { _, filesystem in
                try expectEqual(try await text("/first", context, filesystem), "first", "/first")
                try expectEqual(try await text("/last", context, filesystem), "last", "/last")
                try expectEqual(
                    try await context.content("/hello.txt", in: filesystem), StandardTree.hello, "/hello.txt")
            }
        },
        state("commits", "after a close without commit nothing has happened", needs: [.write]) { context in
            let image = try await context.image()
            let before = try await context.sight(image)
            try await context.with(image, .readWrite) { _, filesystem in
                try await put("never", "/never", context, filesystem)
                try await required(filesystem.writable, "writable").remove("/tree", recursive: true)
                try await required(filesystem.writable, "writable").rename("/hello.txt", to: "/moved")
            }
            try await context.expectSight(image, before)
        },
        state("commits", "before the commit the image does not change", needs: [.write]) { context in
            let image = try await context.image()
            let before = try await context.with(image, .readOnly) { _, filesystem in
                try await context.entries(.root, in: filesystem).map(\.name)
            }
            let copy = image.at(context.folder.appending("copy.\(image.format)"))
            try await context.with(image, .readWrite) { _, filesystem in
                try await put("new", "/new", context, filesystem)
                // A copy taken now is what a crash would leave behind.
                _ = try await Tool.check("cp", ["-a", image.path.string, copy.path.string])
            }
            try await context.with(copy, .readOnly) { _, filesystem in
                try expectEqual(try await context.entries(.root, in: filesystem).map(\.name), before, "names in /")
            }
        },
        state("commits", "a session goes on after its commit; what comes later needs another", needs: [.write]) {
            context in
            let image = try await context.image()
            try await context.with(image, .readWrite) { session, filesystem in
                try await put("one", "/one", context, filesystem)
                try await session.commit()
                try expectEqual(try await text("/one", context, filesystem), "one", "/one after the commit")
                try await put("two", "/two", context, filesystem)
                try await session.commit()
                try await put("three", "/three", context, filesystem)
            }
            try await context.with(image, .readOnly) { _, filesystem in
                try expectEqual(try await text("/one", context, filesystem), "one", "/one")
                try expectEqual(try await text("/two", context, filesystem), "two", "/two")
                try expect(try await !context.exists("/three", in: filesystem), "/three was not committed")
            }
        },
        state("commits", "a commit without changes changes no file", needs: [.write]) { context in
            let image = try await context.image()
            try await context.with(image, .readWrite) { session, _ in
                try await session.commit()
                try await session.commit()
            }
            try await context.with(image, .readOnly) { _, filesystem in
                try expectEqual(
                    try await context.content("/hello.txt", in: filesystem), StandardTree.hello, "/hello.txt")
                try expectEqual(try await filesystem.stat("/hello.txt").mode, 0o640, "mode of /hello.txt")
            }
        },
        state("commits", "every kind of change survives a commit", needs: [.write]) { context in
            let image = try await context.image()
            try await context.with(image, .readWrite) { session, filesystem in
                let writable = try required(filesystem.writable, "writable")
                try await put("replaced", "/etc/hostname", context, filesystem)
                try await writable.makeDirectory("/a/b", parents: true)
                try await writable.symlink("/a/link", target: "../hello.txt")
                try await writable.rename("/tree/sub", to: "/a/sub")
                try await writable.remove("/many", recursive: true)
                try await writable.setMetadata("/setuid", MetadataChange(mode: 0o700))
                try await session.commit()
            }
            try await context.with(image, .readOnly) { _, filesystem in
                try expectEqual(try await text("/etc/hostname", context, filesystem), "replaced", "/etc/hostname")
                try expectEqual(try await filesystem.stat("/a/link").target, "../hello.txt", "/a/link")
                let moved = try await context.content("/a/sub/c", in: filesystem)
                try expect(moved == pattern(70_000, seed: 3), "/a/sub/c differs")
                try expect(try await !context.exists("/many", in: filesystem), "/many is there")
                try expectEqual(try await filesystem.stat("/setuid").mode, 0o700, "mode of /setuid")
            }
        },
        state("commits", "e2fsck finds a committed ext file system clean, debugfs reads what we wrote", needs: [.write])
        {
            context in
            guard context.fixture.kind.isExt else {
                throw ConformanceSkip("\(context.fixture.format) holds no ext file system")
            }
            let image = try await context.image()
            let host = try context.hostTree("host", StandardTree.make(specials: false))
            let bytes = pattern(6_000_001, seed: 21)
            let large = try context.hostFile("large", bytes)
            try await context.with(image, .readWrite) { session, filesystem in
                let writable = try required(filesystem.writable, "writable")
                try await writable.remove("/many", recursive: true)
                for (source, path): (HostPath, GuestPath) in [
                    (host, "/copied"), (large, "/large"), (large, "/hello.txt"),
                ] {
                    _ = try await writable.copyIn(source, to: path, options: CopyInOptions(), progress: .none)
                }
                try await writable.rename("/tree", to: "/empty-folder/tree")
                try await writable.symlink("/long-link", target: String(repeating: "x", count: 200))
                try await session.commit()
            }
            let oracle = try await ExtOracle(image, folder: context.folder)
            try await oracle.checkClean()
            try expect(try await oracle.content("/large") == bytes, "/large differs for debugfs")
            try expect(try await oracle.content("/hello.txt") == bytes, "/hello.txt differs for debugfs")
            try expectEqual(try await oracle.content("/copied/etc/hostname"), Array("fixture\n".utf8), "hostname")
            let suid = try await oracle.stat("/copied/setuid")
            try expect(suid.contains("04755"), "debugfs says of /copied/setuid: \(suid)")
        },
        state("commits", "e2fsck finds the file system clean after a change and a second commit", needs: [.write]) {
            context in
            guard context.fixture.kind.isExt else {
                throw ConformanceSkip("\(context.fixture.format) holds no ext file system")
            }
            let image = try await context.image()
            try await context.with(image, .readWrite) { session, filesystem in
                for round in 0..<2 {
                    try await put("round \(round)", "/round", context, filesystem)
                    try await required(filesystem.writable, "writable").makeDirectory(
                        GuestPath("/round-\(round)"), parents: false)
                    try await session.commit()
                }
            }
            let oracle = try await ExtOracle(image, folder: context.folder)
            try await oracle.checkClean()
            try expectEqual(try await oracle.content("/round"), Array("round 1".utf8), "/round for debugfs")
        },
    ]

    static let hostile = [
        state("hostile", "an absolute link in an image never leads to the host") { context in
            let filesystem = try await context.reading()
            // /outside is a link to /etc: the guest's own, which has a hostname and no passwd.
            try await expectError(.notFound, from: "/outside/passwd") { try await filesystem.stat("/outside/passwd") }
            do {
                let bytes = try await filesystem.read("/outside/hostname", offset: 0, count: 100)
                try expectEqual(bytes, Array("fixture\n".utf8), "/outside/hostname")
            } catch let error as BackendError {
                try expect(
                    [.notFound, .invalidArgument].contains(error.code), "/outside/hostname: \(error)")
            }
        },
        state("hostile", "a path with .. never climbs above the image's root") { context in
            let filesystem = try await context.reading()
            let bytes = try await filesystem.read("/../../../../etc/hostname", offset: 0, count: 100)
            try expectEqual(bytes, Array("fixture\n".utf8), "/../../../../etc/hostname")
        },
        state("hostile", "a write through a link of the image never lands on the host", needs: [.write]) { context in
            let (_, writable, base) = try await context.changing()
            let trap = context.folder.appending("trap")
            try HostFiles.makeDirectories(trap)
            try await writable.symlink(base.appending("l"), target: trap.string)
            let host = try context.hostFile("file", [1, 2, 3])
            do {
                _ = try await writable.copyIn(
                    host, to: base.appending("l/evil"), options: CopyInOptions(), progress: .none)
            } catch is BackendError {
            }
            try? await writable.makeDirectory(base.appending("l/folder"), parents: true)
            try expectEqual(HostFiles.names(in: trap), [], "files in the host's folder")
        },
        state("hostile", "a copy onto a link replaces the link, or refuses; it never follows", needs: [.write]) {
            context in
            let (filesystem, writable, base) = try await context.changing()
            let victim = try context.hostFile("victim", Array("mine".utf8))
            try await writable.symlink(base.appending("l"), target: victim.string)
            let host = try context.hostFile("file", Array("theirs".utf8))
            do {
                _ = try await writable.copyIn(host, to: base.appending("l"), options: CopyInOptions(), progress: .none)
                try expectEqual(try await filesystem.stat(base.appending("l")).kind, .file, "kind afterwards")
            } catch is BackendError {
            }
            try expectEqual(try HostTree.read(victim), Array("mine".utf8), "the file on the host")
        },
        state("hostile", "a link that leads to itself is an error, not an endless walk", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.symlink(base.appending("loop"), target: "loop")
            do {
                _ = try await filesystem.stat(base.appending("loop/x"))
                throw ConformanceFailure("something was found behind a link to itself")
            } catch is BackendError {
            }
        },
        state("hostile", "folders 80 levels deep are read to the bottom") { context in
            var path: GuestPath = "/deep"
            for _ in 0..<StandardTree.deepest { path = path.appending("d") }
            let bytes = try await context.reading().read(path.appending("bottom"), offset: 0, count: 10)
            try expectEqual(bytes, Array("deep\n".utf8), "the file at the bottom")
        },
        state("hostile", "a name of 255 bytes fits, one of 256 is an error and makes nothing", needs: [.write]) {
            context in
            let (filesystem, writable, base) = try await context.changing()
            let long = String(repeating: "x", count: 255)
            try await writable.makeDirectory(base.appending(long), parents: false)
            do {
                try await writable.makeDirectory(base.appending(long + "x"), parents: false)
                throw ConformanceFailure("a name of 256 bytes was taken")
            } catch is BackendError {
            }
            try expectEqual(try await context.entries(base, in: filesystem).map(\.name), [long], "names")
        },
        state("hostile", "a path with a zero byte is an error and makes nothing", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            do {
                try await writable.makeDirectory(base.appending("a\0b"), parents: false)
                throw ConformanceFailure("a name with a zero byte was taken")
            } catch is BackendError {
            }
            try expectEqual(try await context.entries(base, in: filesystem), [], "entries")
        },
    ]
}
