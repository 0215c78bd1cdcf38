import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// How a mount ends: asked, in use, killed, out of room.
@Suite(.serialized, .enabled(if: MountBench.hasFuse, "FUSE is not usable here"))
struct MountEndTests {
    @Test func `a folder in use stays mounted, and the error names who is inside`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.write([5], at: 12) == 0)
            let busy = try await bench.run("unmount", bench.point.string)
            #expect(busy.status == 75)
            #expect(busy.errors.contains("process \(getpid())"))
            #expect(disk.bytes(at: 12, count: 1) == [5])
            #expect(try HostFiles.read(bench.image)[12] == 5)
            disk.close()
            try await bench.unmount()
        }
    }

    @Test func `a lazy unmount lets the open file go on, and the image go with it`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            try await bench.mount("--read-write")
            let server = try bench.server()
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(try await bench.run("unmount", "--lazy", bench.point.string).status == 0)
            #expect(HostFiles.names(in: bench.point).isEmpty)
            #expect(disk.write([6], at: 13) == 0)
            #expect(disk.close() == 0)
            #expect(try HostFiles.read(bench.image)[13] == 6)
            #expect(await onOwnThread { eventually(within: .seconds(20)) { !server.isAlive } })
        }
    }

    @Test(arguments: [(["--read-write"], 75), ([], 0)] as [([String], Int32)])
    func `a mounted image is refused to whoever wants to write, and to readers while it is written`(
        _ first: [String], _ reader: Int32
    ) async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            if first.isEmpty { try await bench.mount() } else { try await bench.mount(first[0]) }
            let other = bench.folder.appending("other")
            try HostFiles.makeDirectories(other)
            let writer = try await bench.run("mount", bench.image.string, other.string, "--read-write")
            #expect(writer.status == 75)
            #expect(writer.errors.contains("\(try bench.server().pid)"))
            #expect(try await bench.run("mount", bench.image.string, other.string).status == reader)
            if reader == 0 { #expect(try await bench.run("unmount", other.string).status == 0) }
            let again = try await bench.run("mount", bench.image.string, bench.point.string)
            #expect(again.status == 2 && again.errors.contains("already"))
            try await bench.unmount()
        }
    }

    @Test(arguments: ["mount", "unmount", "reap"])
    func `what a killed server leaves is cleared`(_ verb: String) async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            let before = try HostFiles.read(bench.image)
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.write([1, 2, 3], at: 70_000) == 0)
            let server = try bench.server()
            server.signal(SIGKILL)
            #expect(await onOwnThread { eventually(within: .seconds(20)) { !server.isAlive } })
            #expect(disk.sync() != 0)
            #expect(OpenFile(bench.point.appending("EntireDisk"), O_RDONLY).descriptor == -ENOTCONN)
            switch verb {
            case "mount":
                try await bench.mount()
                try await bench.unmount()
            case "unmount": try await bench.unmount()
            default: #expect(try await bench.run("reap").status == 0)
            }
            disk.close()
            #expect(try HostFiles.read(bench.image) == before)
        }
    }

    @Test func `reap leaves a mount alone that lives`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            try await bench.mount()
            #expect(try await bench.run("reap").status == 0)
            #expect(HostFiles.size(bench.point.appending("EntireDisk")) == 1 << 20)
            try await bench.unmount()
        }
    }

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP])
    func `a server that is asked to end commits and unmounts`(_ signal: Int32) async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.write([1, 2, 3], at: 70_000) == 0)
            let server = try bench.server()
            server.signal(signal)
            #expect(await onOwnThread { eventually(within: .seconds(20)) { !server.isAlive } })
            disk.close()
            #expect(HostFiles.names(in: bench.point).isEmpty)
            #expect(try HostFiles.read(bench.image)[70_000..<70_003] == [1, 2, 3])
        }
    }

    @Test func `a plain unmount by the system's own tool loses nothing`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            try await bench.mount("--read-write")
            let server = try bench.server()
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.write([4], at: 4) == 0)
            disk.close()
            _ = try await Tool.check("fusermount3", ["-u", bench.point.string])
            #expect(await onOwnThread { eventually(within: .seconds(20)) { !server.isAlive } })
            #expect(try HostFiles.read(bench.image)[4] == 4)
        }
    }

    @Test func `in the foreground the command serves until it is interrupted`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            let child = try ChildProcess(
                MountBench.program, ["mount", bench.image.string, bench.point.string, "--foreground"],
                environment: HostEnvironment.all.merging(["ANYVISOR_STATE": bench.state.string]) { $1 },
                output: .null, errors: .null)
            let file = bench.point.appending("EntireDisk")
            #expect(await onOwnThread { eventually(within: .seconds(20)) { HostFiles.exists(file) } })
            kill(child.pid, SIGINT)
            #expect(await onOwnThread { child.wait() } == .exited(0))
            #expect(HostFiles.names(in: bench.point).isEmpty)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "a small file system of its own takes root"))
    func `a full host fails each sync from the first on, and the image is as it was at the last good one`() async throws
    {
        try await MountBench.with("small/disk.raw") { bench in
            let small = bench.folder.appending("small")
            try HostFiles.makeDirectories(small)
            _ = try await Tool.check("mount", ["-t", "tmpfs", "-o", "size=256K", "none", small.string])
            _ = try await Tool.check("truncate", ["-s", "2M", bench.image.string])
            try await bench.mount("--read-write")
            let disk = OpenFile(bench.point.appending("EntireDisk"), O_RDWR)
            #expect(disk.write([UInt8](repeating: 7, count: 4096), at: 0) == 0)
            #expect(disk.sync() == 0)
            #expect(disk.write([UInt8](repeating: 9, count: 512 << 10), at: 1 << 20) == 0)
            #expect(disk.sync() == ENOSPC)
            #expect(disk.sync() == ENOSPC)
            #expect(disk.write([1], at: 0) == ENOSPC)
            #expect(disk.close() == ENOSPC)
            let ended = try await bench.run("unmount", bench.point.string)
            #expect(ended.status == 16 && ended.errors.contains("space"))
            let content = try HostFiles.read(bench.image)
            #expect(content.prefix(4096).allSatisfy { $0 == 7 })
            #expect(content.dropFirst(4096).allSatisfy { $0 == 0 })
            #expect(HostFiles.names(in: small) == ["disk.raw"])
            #expect(MountTable.unmountAll(below: small).isEmpty)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "becoming somebody else takes root"))
    func `an ordinary user mounts and unmounts too`() async throws {
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            for path in [bench.folder, bench.image, bench.point] { chown(path.string, 65534, 65534) }
            let made = try await bench.run(
                "mount", bench.image.string, bench.point.string, "--read-write", before: user)
            try #require(made.status == 0, "\(made.errors)")
            let file = bench.point.appending("EntireDisk").string
            let words = user + ["dd", "if=/dev/zero", "of=\(file)", "bs=4k", "count=1", "conv=notrunc", "status=none"]
            _ = try await Tool.check(words[0], Array(words.dropFirst()))
            let ended = try await bench.run("unmount", bench.point.string, before: user)
            try #require(ended.status == 0, "\(ended.errors)")
            #expect(try HostFiles.read(bench.image).prefix(4096).allSatisfy { $0 == 0 })
        }
    }

    @Test(.enabled(if: geteuid() == 0, "hiding a device takes root"))
    func `without FUSE the error says what cures it`() async throws {
        try await MountBench.with { bench in
            try bench.makeNumbered(bytes: 1 << 20)
            let hide = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec \"$@\""
            let answer = try await bench.run(
                "mount", bench.image.string, bench.point.string, before: ["unshare", "-m", "sh", "-c", hide, "sh"])
            #expect(answer.status == 16)
            #expect(answer.errors.contains("/dev/fuse is missing; `modprobe fuse` as root makes it"))
        }
    }
}
