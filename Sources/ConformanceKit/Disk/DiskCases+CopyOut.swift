import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension DiskCases {
    static let copyOut = [
        state("copy out", "a file keeps its bytes, mode and time") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut("/big.bin", to: out, policy: .faithful, progress: .none)
            try expect(try HostTree.read(out) == StandardTree.big, "the bytes differ")
            let item = try required(HostTree.look(out), "the copy")
            try expectEqual(item.mode, 0o644, "mode")
            try expectEqual(item.modifiedSeconds, 1_234_567_890, "time")
            try expectEqual(report.files, 1, "files in the report")
            try expectEqual(report.bytes, Int64(StandardTree.bigSize), "bytes in the report")
            try expectEqual(report.refusedCount, 0, "refused")
        },
        state("copy out", "a tree keeps its shape, modes, times and content") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut("/tree", to: out, policy: .faithful, progress: .none)
            try expectEqual(HostTree.names(out), ["a", "b.sh", "sub"], "names")
            try expectEqual(
                HostTree.names(out.appending("sub")), ["c", "deeper", "passwd", "suid", "up"], "names in sub")
            try expectEqual(HostTree.look(out)?.mode, 0o750, "mode of the top")
            try expectEqual(HostTree.look(out.appending("sub"))?.mode, 0o711, "mode of sub")
            try expectEqual(HostTree.look(out.appending("b.sh"))?.mode, 0o755, "mode of b.sh")
            try expectEqual(HostTree.look(out.appending("sub/c"))?.mode, 0o600, "mode of sub/c")
            try expectEqual(HostTree.look(out.appending("a"))?.modifiedSeconds, 1_500_000_001, "time of a")
            try expect(try HostTree.read(out.appending("sub/c")) == pattern(70_000, seed: 3), "sub/c differs")
            try expectEqual(report.refused, [], "refused")
        },
        state("copy out", "a faithful copy makes links again and follows none") { context in
            let out = context.folder.appending("out")
            let filesystem = try await context.reading()
            _ = try await filesystem.copyOut("/tree", to: out, policy: .faithful, progress: .none)
            try expectEqual(HostTree.look(out.appending("sub/up"))?.target, "../a", "sub/up")
            try expectEqual(HostTree.look(out.appending("sub/passwd"))?.target, "/etc/passwd", "sub/passwd")
            _ = try await filesystem.copyOut(
                "/outside", to: context.folder.appending("link"), policy: .faithful, progress: .none)
            try expectEqual(HostTree.look(context.folder.appending("link"))?.target, "/etc", "a link by itself")
        },
        state("copy out", "two names of one file stay one file", needs: [.hardLinks]) { context in
            let out = context.folder.appending("out")
            _ = try await context.reading().copyOut("/tree", to: out, policy: .faithful, progress: .none)
            let first = try required(HostTree.look(out.appending("a")), "a")
            try expectEqual(HostTree.look(out.appending("sub/deeper/a-again"))?.inode, first.inode, "inode")
        },
        state("copy out", "holes stay holes", needs: [.sparse]) { context in
            let out = context.folder.appending("out")
            _ = try await context.reading().copyOut("/sparse.bin", to: out, policy: .faithful, progress: .none)
            let item = try required(HostTree.look(out), "the copy")
            try expectEqual(item.size, StandardTree.sparseSize, "size")
            try expect(item.stored < StandardTree.sparseSize / 2, "\(item.stored) bytes are stored")
            let bytes = try HostTree.read(out)
            let start = Int(StandardTree.sparseOffset)
            try expect(bytes[start..<start + 4096].elementsEqual(StandardTree.sparseBytes), "the data differs")
        },
        state("copy out", "a host path that exists is alreadyExists and stays as it is") { context in
            let out = try context.hostFile("out", Array("mine\n".utf8))
            try HostFiles.makeDirectories(context.folder.appending("folder"))
            let filesystem = try await context.reading()
            for target in [out, context.folder.appending("folder")] {
                for path: GuestPath in ["/hello.txt", "/tree"] {
                    try await expectError(.alreadyExists, from: "copyOut \(path) to \(target.name)") {
                        try await filesystem.copyOut(path, to: target, policy: .faithful, progress: .none)
                    }
                }
            }
            try expectEqual(try HostTree.read(out), Array("mine\n".utf8), "the old file")
            try expectEqual(HostFiles.names(in: context.folder), ["folder", "out"], "files on the host")
        },
        state("copy out", "a dangling link in the target's place is not written through") { context in
            let out = context.folder.appending("out")
            symlink(context.folder.appending("elsewhere").string, out.string)
            try await expectError(.alreadyExists, from: "copyOut") {
                try await context.reading().copyOut("/hello.txt", to: out, policy: .faithful, progress: .none)
            }
            try expectEqual(HostFiles.names(in: context.folder), ["out"], "files on the host")
        },
        state("copy out", "a missing source or target folder is notFound and makes nothing") { context in
            let filesystem = try await context.reading()
            try await expectError(.notFound, from: "missing source") {
                try await filesystem.copyOut(
                    "/nothing", to: context.folder.appending("out"), policy: .faithful, progress: .none)
            }
            try await expectError(.notFound, from: "missing target folder") {
                try await filesystem.copyOut(
                    "/hello.txt", to: context.folder.appending("no/out"), policy: .faithful, progress: .none)
            }
            try expectEqual(HostFiles.names(in: context.folder), [], "files on the host")
        },
        state("copy out", "device nodes and pipes are refused by name, the rest is copied") { context in
            guard context.fixture.kind.hasSpecials else { throw ConformanceSkip("the fixture has no device nodes") }
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut("/nodes", to: out, policy: .faithful, progress: .none)
            try expectEqual(HostTree.names(out), ["plain"], "copied")
            try expectEqual(Set(report.refused.map(\.path)), ["block", "char", "pipe"], "refused")
            try expectEqual(report.refusedCount, 3, "refusedCount")
            try expect(report.refused.allSatisfy { !$0.reason.isEmpty }, "a refusal gives no reason")
        },
        state("copy out", "hard names arrive with their bytes") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut("/names", to: out, policy: .faithful, progress: .none)
            let wanted = Set(StandardTree.hardNames.map { GuestPath.bytes(of: $0) })
            try expectEqual(Set(HostTree.names(out).map { GuestPath.bytes(of: $0) }), wanted, "names")
            try expectEqual(report.files, Int64(wanted.count), "files in the report")
        },
        state("copy out", "progress never goes back, and ends at all bytes") { context in
            let log = ProgressLog()
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut("/big.bin", to: out, policy: .faithful, progress: log.sink)
            try log.checkForward()
            try expectEqual(log.all.last?.bytes, report.bytes, "bytes of the last step")
        },
        state("copy out", "a cancelled copy leaves nothing behind") { context in
            let out = context.folder.appending("out")
            let filesystem = try await context.reading()
            let task = Task { try await filesystem.copyOut("/", to: out, policy: .faithful, progress: .none) }
            task.cancel()
            do {
                _ = try await task.value
                // It was done before anybody could stop it: then it has to be whole.
                try expect(HostFiles.exists(out.appending("hello.txt")), "half a copy")
            } catch is CancellationError {
                try await eventually("removing the half copy") { HostFiles.names(in: context.folder).isEmpty }
            } catch let error as BackendError where error.code == .cancelled {
                try await eventually("removing the half copy") { HostFiles.names(in: context.folder).isEmpty }
            }
            try expectEqual(try await filesystem.stat("/hello.txt").kind, .file, "the session afterwards")
        },
        state("copy out", "while a copy runs nothing stands at its target, or all of it") { context in
            let out = context.folder.appending("out")
            let folder = context.folder
            let log = ProgressLog(onStep: {
                // A name beside the target is the writer's business; the target itself appears whole.
                if HostFiles.exists(out), !HostFiles.exists(out.appending("names")) {
                    try? HostFiles.write([], to: folder.appending("early"))
                }
            })
            _ = try await context.reading().copyOut("/", to: out, policy: .faithful, progress: log.sink)
            try expect(!HostFiles.exists(folder.appending("early")), "the target was there before the copy was whole")
        },
        state("copy out", "the root folder can be copied whole") { context in
            let out = context.folder.appending("out")
            _ = try await context.reading().copyOut("/", to: out, policy: .faithful, progress: .none)
            try expectEqual(try HostTree.read(out.appending("etc/hostname")), Array("fixture\n".utf8), "etc/hostname")
            try expectEqual(HostTree.names(out.appending("many")).count, StandardTree.manyCount, "files in many")
        },
        state("copy out", "several copies at once are each whole") { context in
            let filesystem = try await context.reading()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<4 {
                    let out = context.folder.appending("out\(number)")
                    group.addTask {
                        _ = try await filesystem.copyOut("/tree", to: out, policy: .faithful, progress: .none)
                        try expectEqual(HostTree.names(out), ["a", "b.sh", "sub"], "names")
                        try expect(
                            try HostTree.read(out.appending("sub/c")) == pattern(70_000, seed: 3), "sub/c differs")
                    }
                }
                try await group.waitForAll()
            }
        },
    ]

    static let untrusted = [
        state("untrusted", "modes become 0644 and 0755, no setuid, folders 0755") { context in
            let out = context.folder.appending("out")
            let filesystem = try await context.reading()
            _ = try await filesystem.copyOut("/tree", to: out, policy: .untrusted(CopyLimits()), progress: .none)
            try expectEqual(HostTree.look(out)?.mode, 0o755, "mode of the top")
            try expectEqual(HostTree.look(out.appending("sub"))?.mode, 0o755, "mode of sub")
            try expectEqual(HostTree.look(out.appending("b.sh"))?.mode, 0o755, "mode of b.sh")
            try expectEqual(HostTree.look(out.appending("sub/c"))?.mode, 0o644, "mode of sub/c")
            try expectEqual(HostTree.look(out.appending("sub/suid"))?.mode, 0o755, "mode of a setuid file")
            let single = context.folder.appending("single")
            _ = try await filesystem.copyOut("/setuid", to: single, policy: .untrusted(CopyLimits()), progress: .none)
            try expectEqual(HostTree.look(single)?.mode, 0o755, "mode of a setuid file by itself")
        },
        state("untrusted", "links are refused by name, the rest is copied") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut(
                "/tree", to: out, policy: .untrusted(CopyLimits()), progress: .none)
            try expectEqual(HostTree.names(out), ["a", "b.sh", "sub"], "names in the copy")
            try expectEqual(HostTree.names(out.appending("sub")), ["c", "deeper", "suid"], "names in sub")
            try expectEqual(Set(report.refused.map(\.path)), ["sub/up", "sub/passwd"], "refused")
        },
        state("untrusted", "a link by itself is refused and makes nothing") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut(
                "/climber", to: out, policy: .untrusted(CopyLimits()), progress: .none)
            try expectEqual(report.refusedCount, 1, "refusedCount")
            try expect(!HostFiles.exists(out), "something was made")
        },
        state("untrusted", "a second name of a file becomes a file of its own") { context in
            let out = context.folder.appending("out")
            _ = try await context.reading().copyOut("/tree", to: out, policy: .untrusted(CopyLimits()), progress: .none)
            let first = try required(HostTree.look(out.appending("a")), "a")
            let second = try required(HostTree.look(out.appending("sub/deeper/a-again")), "sub/deeper/a-again")
            try expect(first.inode != second.inode, "two results share one file")
            try expectEqual(try HostTree.read(out.appending("sub/deeper/a-again")), Array("a\n".utf8), "content")
        },
        state("untrusted", "device nodes and pipes are refused") { context in
            guard context.fixture.kind.hasSpecials else { throw ConformanceSkip("the fixture has no device nodes") }
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut(
                "/nodes", to: out, policy: .untrusted(CopyLimits()), progress: .none)
            try expectEqual(HostTree.names(out), ["plain"], "copied")
            try expectEqual(report.refusedCount, 3, "refusedCount")
        },
        state("untrusted", "a file larger than the quota is refused by its apparent size, the rest is copied") {
            context in
            let out = context.folder.appending("out")
            let limits = CopyLimits(bytes: .mib(2), files: 100_000, depth: 100)
            let report = try await context.reading().copyOut("/", to: out, policy: .untrusted(limits), progress: .none)
            let refused = Set(report.refused.map(\.path))
            try expect(refused.contains("big.bin") && refused.contains("sparse.bin"), "refused: \(refused)")
            try expect(HostTree.look(out.appending("sparse.bin")) == nil, "a sparse file of 8 MiB came out")
            try expect(report.bytes <= 2 << 20, "\(report.bytes) bytes came out")
            try expectEqual(try HostTree.read(out.appending("hello.txt")), StandardTree.hello, "hello.txt")
        },
        state("untrusted", "not more files and folders come out than the quota says") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut(
                "/many", to: out, policy: .untrusted(CopyLimits(bytes: .gib(1), files: 50, depth: 10)), progress: .none)
            try expect(HostTree.names(out).count <= 50, "\(HostTree.names(out).count) files came out")
            try expect(HostTree.names(out).count >= 49, "only \(HostTree.names(out).count) files came out")
            try expect(report.refusedCount >= Int64(StandardTree.manyCount - 50), "\(report.refusedCount) refused")
        },
        state("untrusted", "not deeper than the quota says") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut(
                "/deep", to: out, policy: .untrusted(CopyLimits(bytes: .gib(1), files: 1_000, depth: 10)),
                progress: .none)
            var path = out
            var depth = 0
            while HostFiles.exists(path.appending("d")) {
                path = path.appending("d")
                depth += 1
            }
            try expect((9...10).contains(depth), "\(depth) folders deep")
            try expect(report.refusedCount >= 1, "nothing was refused")
        },
        state("untrusted", "refusals are listed up to 1,000 and counted to the end") { context in
            let out = context.folder.appending("out")
            let report = try await context.reading().copyOut(
                "/many", to: out, policy: .untrusted(CopyLimits(bytes: .gib(1), files: 2, depth: 10)), progress: .none)
            try expect(report.refused.count <= 1_000, "\(report.refused.count) are listed")
            try expect(report.refusedCount >= Int64(StandardTree.manyCount - 2), "\(report.refusedCount) are counted")
        },
        state("untrusted", "nothing is made outside the target") { context in
            let out = context.folder.appending("inner").appending("out")
            try HostFiles.makeDirectories(out.parent)
            _ = try await context.reading().copyOut(
                "/", to: out, policy: .untrusted(CopyLimits(depth: 100)), progress: .none)
            try expectEqual(HostFiles.names(in: context.folder), ["inner"], "files beside")
            try expectEqual(HostFiles.names(in: out.parent), ["out"], "files beside the target")
            try checkHarmless(out)
        },
    ]

    /// Only regular files and folders, no setuid bit, in the whole tree.
    private static func checkHarmless(_ path: HostPath) throws {
        for name in HostTree.names(path) {
            let below = path.appending(name)
            let item = try required(HostTree.look(below), "\(below)")
            try expect(item.kind == .file || item.kind == .directory, "\(below) is a \(item.kind.rawValue)")
            try expect(item.mode & 0o7000 == 0, "\(below) has mode \(String(item.mode, radix: 8))")
            if item.kind == .directory { try checkHarmless(below) }
        }
    }
}
