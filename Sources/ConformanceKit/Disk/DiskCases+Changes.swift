import Abstractions
import Host

extension DiskCases {
    private static func put(
        _ text: String, _ path: GuestPath, _ context: DiskContext, _ writable: any WritableFilesystem
    ) async throws {
        let host = try context.hostFile("put-\(await context.cell.number())", Array(text.utf8))
        _ = try await writable.copyIn(host, to: path, options: CopyInOptions(), progress: .none)
    }

    private static func text(_ path: GuestPath, _ context: DiskContext, _ filesystem: any GuestFilesystem) async throws
        -> String
    {
        String(decoding: try await context.content(path, in: filesystem), as: UTF8.self)
    }

    static let changes =
        folders + removals + renames + [
            state("changes", "a symbolic link gets exactly its text", needs: [.write]) { context in
                let (filesystem, writable, base) = try await context.changing()
                let long = String(repeating: "long/", count: 60) + "é"
                for (name, target) in [("a", "../x y"), ("b", "/etc/passwd"), ("c", long)] {
                    try await writable.symlink(base.appending(name), target: target)
                    let stat = try await filesystem.stat(base.appending(name))
                    try expectEqual(stat.kind, .symlink, "kind")
                    try expectEqual(stat.target, target, "target")
                    try expectEqual(stat.size.bytes, Int64(target.utf8.count), "size")
                }
            },
            state(
                "changes", "a symbolic link over something is alreadyExists, in a missing folder notFound",
                needs: [.write]
            ) {
                context in
                let (_, writable, base) = try await context.changing()
                try await writable.symlink(base.appending("a"), target: "x")
                try await expectError(.alreadyExists, from: "symlink") {
                    try await writable.symlink(base.appending("a"), target: "y")
                }
                try await expectError(.notFound, from: "symlink") {
                    try await writable.symlink(base.appending("no/a"), target: "y")
                }
            },
            state("changes", "metadata that is not named stays", needs: [.write, .ownership]) { context in
                let (filesystem, writable, base) = try await context.changing()
                let path = base.appending("f")
                try await put("text", path, context, writable)
                let first = try await filesystem.stat(path)
                try await writable.setMetadata(path, MetadataChange(mode: 0o4711))
                var stat = try await filesystem.stat(path)
                try expectEqual(stat.mode, 0o4711, "mode")
                try expectEqual(stat.modifiedNanoseconds, first.modifiedNanoseconds, "time")
                try await writable.setMetadata(path, MetadataChange(uid: 321, gid: 70_001))
                try await writable.setMetadata(path, MetadataChange(modifiedNanoseconds: 1_000_000_000_000_000_000))
                stat = try await filesystem.stat(path)
                try expectEqual(stat.uid, 321, "uid")
                try expectEqual(stat.gid, 70_001, "gid")
                try expectEqual(stat.mode, 0o4711, "mode after a change of owner")
                try expectEqual(stat.modifiedNanoseconds / 1_000_000_000, 1_000_000_000, "time")
                try expectEqual(stat.kind, .file, "kind")
                try expectEqual(stat.size.bytes, 4, "size")
            },
            state("changes", "metadata of nothing is notFound", needs: [.write]) { context in
                let (_, writable, base) = try await context.changing()
                try await expectError(.notFound, from: "setMetadata") {
                    try await writable.setMetadata(base.appending("no"), MetadataChange(mode: 0o600))
                }
            },
            state("changes", "writers at once each get their file", needs: [.write]) { context in
                let (filesystem, writable, base) = try await context.changing()
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<12 {
                        group.addTask {
                            try await put("text \(number)", base.appending("f\(number)"), context, writable)
                            try await writable.makeDirectory(base.appending("d\(number)"), parents: false)
                        }
                    }
                    try await group.waitForAll()
                }
                for number in 0..<12 {
                    try expectEqual(
                        try await text(base.appending("f\(number)"), context, filesystem), "text \(number)",
                        "f\(number)")
                    try expectEqual(
                        try await filesystem.stat(base.appending("d\(number)")).kind, .directory, "d\(number)")
                }
            },
        ]

    private static let folders = [
        state("changes", "a new folder has mode 0755 and is empty", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("d"), parents: false)
            let stat = try await filesystem.stat(base.appending("d"))
            try expectEqual(stat.kind, .directory, "kind")
            try expectEqual(stat.mode, 0o755, "mode")
            try expectEqual(try await filesystem.list(base.appending("d"), after: nil).entries, [], "entries")
        },
        state("changes", "a folder that exists is alreadyExists, without its parents notFound", needs: [.write]) {
            context in
            let (_, writable, base) = try await context.changing()
            try await expectError(.alreadyExists, from: "makeDirectory") {
                try await writable.makeDirectory(base, parents: false)
            }
            try await expectError(.notFound, from: "makeDirectory") {
                try await writable.makeDirectory(base.appending("a/b"), parents: false)
            }
        },
        state("changes", "with parents all folders above are made, and it may exist", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            for _ in 0..<2 { try await writable.makeDirectory(base.appending("a/b/c"), parents: true) }
            try expectEqual(try await filesystem.stat(base.appending("a/b/c")).kind, .directory, "kind")
            try await put("x", base.appending("file"), context, writable)
            try await expectError(.alreadyExists, .notFound, .invalidArgument, from: "a folder over a file") {
                try await writable.makeDirectory(base.appending("file"), parents: true)
            }
        },
    ]

    private static let removals = [
        state("changes", "a file, a link and an empty folder can be removed", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await put("target", base.appending("f"), context, writable)
            try await writable.symlink(base.appending("l"), target: "f")
            try await writable.makeDirectory(base.appending("d"), parents: false)
            for name in ["l", "d"] {
                try await writable.remove(base.appending(name), recursive: false)
                try expect(try await !context.exists(base.appending(name), in: filesystem), "\(name) is still there")
            }
            try expectEqual(try await text(base.appending("f"), context, filesystem), "target", "the link's target")
            try await writable.remove(base.appending("f"), recursive: false)
            try expectEqual(try await context.entries(base, in: filesystem), [], "what is left")
        },
        state("changes", "a full folder goes only with all that is in it", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("d/e/f"), parents: true)
            try await put("x", base.appending("d/e/file"), context, writable)
            try await expectError(.invalidArgument, from: "remove") {
                try await writable.remove(base.appending("d"), recursive: false)
            }
            try expectEqual(try await text(base.appending("d/e/file"), context, filesystem), "x", "the file inside")
            try await writable.remove(base.appending("d"), recursive: true)
            try expectEqual(try await context.entries(base, in: filesystem), [], "what is left")
        },
        state("changes", "nothing to remove is notFound, the root is invalidArgument", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await expectError(.notFound, from: "remove") {
                try await writable.remove(base.appending("no"), recursive: false)
            }
            try await expectError(.invalidArgument, from: "remove of the root") {
                try await writable.remove(.root, recursive: true)
            }
            try expectEqual(try await filesystem.stat("/hello.txt").kind, .file, "/hello.txt")
        },
        state("changes", "a removed name leaves the file's other name alone", needs: [.write, .hardLinks]) { context in
            let image = try await context.image()
            try await context.with(image, .readWrite) { _, filesystem in
                try await required(filesystem.writable, "writable").remove("/hard-a", recursive: false)
                try expectEqual(try await filesystem.stat("/hard-b").links, 1, "links of the other name")
                try expectEqual(try await text("/hard-b", context, filesystem), "one file, two names\n", "content")
            }
        },
        state("changes", "a removed link to a folder leaves the folder alone", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("d"), parents: false)
            try await put("x", base.appending("d/file"), context, writable)
            try await writable.symlink(base.appending("l"), target: "d")
            try await writable.remove(base.appending("l"), recursive: true)
            try expectEqual(try await text(base.appending("d/file"), context, filesystem), "x", "the file inside")
        },
    ]

    private static let renames = [
        state("changes", "a rename moves a file, also into another folder, and replaces a file", needs: [.write]) {
            context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("d"), parents: false)
            try await put("one", base.appending("a"), context, writable)
            try await put("two", base.appending("d/b"), context, writable)
            try await writable.rename(base.appending("a"), to: base.appending("d/b"))
            try expectEqual(try await text(base.appending("d/b"), context, filesystem), "one", "content")
            try expect(try await !context.exists(base.appending("a"), in: filesystem), "the old name is still there")
        },
        state("changes", "a rename moves a folder with all that is in it", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("a/sub"), parents: true)
            try await put("x", base.appending("a/sub/file"), context, writable)
            try await writable.makeDirectory(base.appending("other"), parents: false)
            try await writable.rename(base.appending("a"), to: base.appending("other/b"))
            try expectEqual(try await text(base.appending("other/b/sub/file"), context, filesystem), "x", "content")
            try expect(try await !context.exists(base.appending("a"), in: filesystem), "the old name is still there")
        },
        state("changes", "a rename onto a folder is alreadyExists", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("a"), parents: false)
            try await writable.makeDirectory(base.appending("b"), parents: false)
            try await put("x", base.appending("f"), context, writable)
            for name in ["a", "f"] {
                try await expectError(.alreadyExists, from: "rename of \(name)") {
                    try await writable.rename(base.appending(name), to: base.appending("b"))
                }
                try expect(try await context.exists(base.appending(name), in: filesystem), "\(name) is gone")
            }
        },
        state("changes", "a folder does not move into itself", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.makeDirectory(base.appending("a/b"), parents: true)
            try await expectError(.invalidArgument, from: "rename") {
                try await writable.rename(base.appending("a"), to: base.appending("a/b/c"))
            }
            try expectEqual(try await filesystem.stat(base.appending("a/b")).kind, .directory, "the folder")
        },
        state("changes", "a rename of nothing, or into no folder, is notFound", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await put("x", base.appending("f"), context, writable)
            try await expectError(.notFound, from: "rename of nothing") {
                try await writable.rename(base.appending("no"), to: base.appending("x"))
            }
            try await expectError(.notFound, from: "rename into no folder") {
                try await writable.rename(base.appending("f"), to: base.appending("no/f"))
            }
            try expectEqual(try await text(base.appending("f"), context, filesystem), "x", "the file")
        },
        state("changes", "a rename of a link moves the link, not its target", needs: [.write]) { context in
            let (filesystem, writable, base) = try await context.changing()
            try await writable.symlink(base.appending("l"), target: "/hello.txt")
            try await writable.rename(base.appending("l"), to: base.appending("m"))
            try expectEqual(try await filesystem.stat(base.appending("m")).target, "/hello.txt", "target")
            try expectEqual(try await filesystem.stat("/hello.txt").kind, .file, "/hello.txt")
        },
    ]
}
