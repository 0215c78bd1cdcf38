import Abstractions

extension DiskCases {
    static let reading = [
        state("reading", "stat of a file tells size, mode and time") { context in
            let stat = try await context.reading().stat("/hello.txt")
            try expectEqual(stat.kind, .file, "kind")
            try expectEqual(stat.size.bytes, Int64(StandardTree.hello.count), "size")
            try expectEqual(stat.mode, 0o640, "mode")
            try expectEqual(stat.modifiedNanoseconds / 1_000_000_000, 1_600_000_000, "modified")
        },
        state("reading", "stat tells the guest's owner, whoever asks", needs: [.ownership]) { context in
            guard context.fixture.kind.hasSpecials else { throw ConformanceSkip("the fixture has no other owners") }
            let stat = try await context.reading().stat("/hello.txt")
            try expectEqual(stat.uid, 1_000, "uid")
            try expectEqual(stat.gid, 1_001, "gid")
        },
        state("reading", "stat tells the upper mode bits") { context in
            try expectEqual(try await context.reading().stat("/setuid").mode, 0o4755, "mode of /setuid")
        },
        state("reading", "the root is a folder") { context in
            try expectEqual(try await context.reading().stat(.root).kind, .directory, "kind of /")
        },
        state("reading", "a symbolic link is itself: its text and the text's length") { context in
            for (path, target): (GuestPath, String) in [
                ("/link", "hello.txt"), ("/dangling", "/nowhere/at/all"), ("/climber", "../../../../../../etc/passwd"),
                ("/outside", "/etc"),
            ] {
                let stat = try await context.reading().stat(path)
                try expectEqual(stat.kind, .symlink, "kind of \(path)")
                try expectEqual(stat.target, target, "target of \(path)")
                try expectEqual(stat.size.bytes, Int64(target.utf8.count), "size of \(path)")
            }
        },
        state("reading", "nothing at a path is notFound") { context in
            let filesystem = try await context.reading()
            for path: GuestPath in ["/nothing", "/nothing/below", "/hello.txt/below", "/dangling/below"] {
                try await expectError(.notFound, from: "stat \(path)") { try await filesystem.stat(path) }
            }
            try await expectError(.notFound, from: "read") {
                try await filesystem.read("/nothing", offset: 0, count: 1)
            }
            try await expectError(.notFound, from: "list") { try await filesystem.list("/nothing", after: nil) }
        },
        state("reading", "two names of one file count two links") { context in
            let filesystem = try await context.reading()
            try expectEqual(try await filesystem.stat("/hard-a").links, 2, "links of /hard-a")
            try expectEqual(try await filesystem.stat("/hard-b").links, 2, "links of /hard-b")
            try expectEqual(try await filesystem.stat("/hello.txt").links, 1, "links of /hello.txt")
        },
        state("reading", "device nodes and pipes are told by their kind") { context in
            guard context.fixture.kind.hasSpecials else { throw ConformanceSkip("the fixture has no device nodes") }
            let filesystem = try await context.reading()
            try expectEqual(try await filesystem.stat("/nodes/char").kind, .characterDevice, "/nodes/char")
            try expectEqual(try await filesystem.stat("/nodes/block").kind, .blockDevice, "/nodes/block")
            try expectEqual(try await filesystem.stat("/nodes/pipe").kind, .fifo, "/nodes/pipe")
        },
        state("reading", "read gives the bytes of a file, from any offset") { context in
            let filesystem = try await context.reading()
            try expectEqual(try await filesystem.read("/hello.txt", offset: 0, count: 100), StandardTree.hello, "all")
            try expectEqual(
                try await filesystem.read("/hello.txt", offset: 7, count: 4), Array("disk".utf8), "4 from 7")
        },
        state("reading", "read gives fewer bytes only at the end of the file") { context in
            let filesystem = try await context.reading()
            let size = Int64(StandardTree.hello.count)
            try expectEqual(
                try await filesystem.read("/hello.txt", offset: size - 3, count: 50).count, 3, "across the end")
            try expectEqual(try await filesystem.read("/hello.txt", offset: size, count: 50), [], "at the end")
            try expectEqual(try await filesystem.read("/hello.txt", offset: size + 9, count: 50), [], "behind the end")
            try expectEqual(
                try await filesystem.read("/big.bin", offset: 1, count: 500_000).count, 500_000, "in the middle")
        },
        state("reading", "read of nothing is nothing") { context in
            let filesystem = try await context.reading()
            try expectEqual(try await filesystem.read("/hello.txt", offset: 3, count: 0), [], "zero bytes")
            try expectEqual(try await filesystem.read("/empty", offset: 0, count: 100), [], "an empty file")
            try expectEqual(try await filesystem.stat("/empty").size.bytes, 0, "size of /empty")
        },
        state("reading", "a negative offset or count is invalidArgument") { context in
            let filesystem = try await context.reading()
            try await expectError(.invalidArgument, from: "offset -1") {
                try await filesystem.read("/hello.txt", offset: -1, count: 1)
            }
            try await expectError(.invalidArgument, from: "count -1") {
                try await filesystem.read("/hello.txt", offset: 0, count: -1)
            }
        },
        state("reading", "read of what is not a regular file is invalidArgument, a link included") { context in
            let filesystem = try await context.reading()
            for path: GuestPath in ["/etc", "/", "/link"] {
                try await expectError(.invalidArgument, from: "read \(path)") {
                    try await filesystem.read(path, offset: 0, count: 10)
                }
            }
        },
        state("reading", "a call gives at most 512 KiB, and all of them where there are as many") { context in
            let bytes = try await context.reading().read("/big.bin", offset: 0, count: 2 << 20)
            try expectEqual(bytes.count, 512 << 10, "count")
            try expect(bytes.elementsEqual(StandardTree.big.prefix(512 << 10)), "the bytes differ")
        },
        state("reading", "a big file read in pieces is the same file") { context in
            let bytes = try await context.content("/big.bin", in: try await context.reading())
            try expectEqual(bytes.count, StandardTree.bigSize, "size")
            try expect(bytes == StandardTree.big, "the bytes differ")
        },
        state("reading", "holes read as zeros, with the data where it belongs") { context in
            let filesystem = try await context.reading()
            try expectEqual(try await filesystem.stat("/sparse.bin").size.bytes, StandardTree.sparseSize, "size")
            let start = try await filesystem.read("/sparse.bin", offset: 0, count: 65_536)
            try expect(start.count == 65_536 && start.allSatisfy { $0 == 0 }, "the hole at the start is not zeros")
            let data = try await filesystem.read("/sparse.bin", offset: StandardTree.sparseOffset, count: 4_096)
            try expect(data == StandardTree.sparseBytes, "the data differs")
            let end = try await filesystem.read("/sparse.bin", offset: StandardTree.sparseSize - 10, count: 100)
            try expectEqual(end, [UInt8](repeating: 0, count: 10), "the end")
        },
        state("reading", "many reads at once give what each gives alone") { context in
            let filesystem = try await context.reading()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<24 {
                    group.addTask {
                        let offset = Int64(number) * 100_003
                        let bytes = try await filesystem.read("/big.bin", offset: offset, count: 70_000)
                        let wanted = StandardTree.big[Int(offset)..<min(StandardTree.bigSize, Int(offset) + 70_000)]
                        try expect(bytes.elementsEqual(wanted), "the bytes from \(offset) on differ")
                        _ = try await filesystem.stat("/tree/sub/c")
                    }
                }
                try await group.waitForAll()
            }
        },
    ]

    static let listing = [
        state("listing", "names come sorted by their bytes") { context in
            for folder: GuestPath in ["/", "/names", "/many"] {
                let names = try await context.entries(folder, in: try await context.reading()).map {
                    GuestPath.bytes(of: $0.name)
                }
                try expect(
                    zip(names, names.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) },
                    "\(folder) is not sorted by bytes")
            }
        },
        state("listing", "a listing holds neither . nor ..") { context in
            let names = try await context.entries("/etc", in: try await context.reading()).map(\.name)
            try expectEqual(names, ["hostname"], "/etc")
        },
        state("listing", "more than a page comes in pages of at most 1,000, each name once") { context in
            let filesystem = try await context.reading()
            let first = try await filesystem.list("/many", after: nil)
            try expect(!first.entries.isEmpty && first.entries.count <= 1_000, "\(first.entries.count) on a page")
            try expect(first.next != nil, "\(first.entries.count) entries and no next page")
            let names = try await context.entries("/many", in: filesystem).map(\.name)
            try expectEqual(names.count, StandardTree.manyCount, "names in all")
            try expectEqual(Set(names).count, StandardTree.manyCount, "different names")
        },
        state("listing", "a listing starts behind a name, even one that is not there") { context in
            let filesystem = try await context.reading()
            let behind = try await filesystem.list("/tree", after: "a")
            try expectEqual(behind.entries.map(\.name), ["b.sh", "sub"], "behind a")
            let between = try await filesystem.list("/tree", after: "b")
            try expectEqual(between.entries.map(\.name), ["b.sh", "sub"], "behind b, which is not there")
            try expectEqual(try await filesystem.list("/tree", after: "zzz").entries, [], "behind the last")
        },
        state("listing", "an empty folder is an empty page, the last one") { context in
            let page = try await context.reading().list("/empty-folder", after: nil)
            try expectEqual(page, DirectoryPage(entries: [], next: nil), "page")
        },
        state("listing", "what is not a folder is invalidArgument, a link to one included") { context in
            let filesystem = try await context.reading()
            for path: GuestPath in ["/hello.txt", "/outside"] {
                try await expectError(.invalidArgument, from: "list \(path)") {
                    try await filesystem.list(path, after: nil)
                }
            }
        },
        state("listing", "every entry carries what stat says of it") { context in
            let filesystem = try await context.reading()
            for entry in try await context.entries("/", in: filesystem) where entry.name != "lost+found" {
                let stat = try await filesystem.stat(GuestPath.root.appending(entry.name))
                try expectEqual(entry.stat, stat, "stat of /\(entry.name)")
            }
        },
        state("listing", "hard names keep their bytes, and lead to their files") { context in
            let filesystem = try await context.reading()
            let names = try await context.entries("/names", in: filesystem).map(\.name)
            let wanted = StandardTree.hardNames.map { GuestPath.bytes(of: $0) }
            try expectEqual(Set(names.map { GuestPath.bytes(of: $0) }), Set(wanted), "names")
            for (index, name) in StandardTree.hardNames.enumerated() {
                let bytes = try await filesystem.read(GuestPath("/names").appending(name), offset: 0, count: 100)
                try expectEqual(bytes, Array("name \(index)\n".utf8), "content of '\(name)'")
            }
        },
    ]
}
