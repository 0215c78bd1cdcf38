import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension MountTests {
    @Suite struct VDFuseSessionTests {
        @Test("What is committed is in the image, and e2fsck finds nothing", arguments: ["auto", "fuse2fs"])
        func commitIsDurable(mounter: String) async throws {
            try await MountedDisk.with(mounter: mounter) { disk in
                let source = disk.folder.appending("source")
                try HostFiles.write(Array("hello".utf8), to: source, mode: 0o640)
                let before = try disk.bytes()
                try await disk.write { session, _, writable in
                    try await writable.makeDirectory("/a/b", parents: true)
                    _ = try await writable.copyIn(
                        source, to: "/a/b/file", options: CopyInOptions(uid: 7, gid: 8), progress: .none)
                    #expect(try disk.bytes() == before)
                    try await session.commit()
                }
                #expect(try await disk.check() == .exited(0))
                #expect(try await disk.debugfs("cat /a/b/file") == "hello")
                let stat = try await disk.debugfs("stat /a/b/file")
                #expect(stat.contains("Mode:  0640"))
                #expect(stat.contains("User:     7   Group:     8"))
            }
        }

        @Test(
            "What is committed is clean although a process has a copy of the mount in its own namespace",
            .enabled(if: geteuid() == 0, "mount namespaces need root"))
        func copyOfTheMount() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { session, filesystem, writable in
                    try await writable.makeDirectory("/one", parents: false)
                    let holder = try ChildProcess(
                        try #require(HostEnvironment.program("unshare")),
                        ["--mount", "--propagation", "private", "sleep", "600"], environment: HostEnvironment.all,
                        output: .null, errors: .null)
                    defer {
                        holder.signal(SIGKILL)
                        _ = holder.wait()
                    }
                    let program = HostPath("/proc/\(holder.pid)/exe")
                    #expect(eventually(within: .seconds(30)) { HostFiles.linkTarget(program)?.name != "unshare" })
                    try await session.commit()
                    #expect(try await disk.check() == .exited(0))
                    #expect(try await filesystem.stat("/one").kind == .directory)
                    try await writable.makeDirectory("/two", parents: false)
                    try await session.commit()
                }
                #expect(try await disk.check() == .exited(0))
                #expect(try await disk.debugfs("ls /").contains("two"))
            }
        }

        @Test("A commit while somebody is inside is refused, and the session goes on and writes")
        func commitWhileBusy() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { session, filesystem, writable in
                    try await writable.makeDirectory("/one", parents: false)
                    let point = try #require(try await filesystem.mount?.mountPoint())
                    let inside = open(point.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                    #expect(inside >= 0)
                    let failure = await #expect(throws: BackendError.self) { try await session.commit() }
                    #expect(failure?.code == .inUse)
                    try await writable.makeDirectory("/two", parents: false)
                    close(inside)
                    try await session.commit()
                }
                #expect(try await disk.check() == .exited(0))
                #expect(try await disk.debugfs("ls /").contains("two"))
            }
        }

        @Test("A session that is closed without commit leaves every byte as it was")
        func closeDrops() async throws {
            try await MountedDisk.with { disk in
                let before = try disk.bytes()
                try await disk.write { _, _, writable in try await writable.makeDirectory("/gone", parents: false) }
                #expect(try disk.bytes() == before)
                #expect(MountTable.mounts(below: disk.folder).isEmpty)
            }
        }

        @Test("A session goes on after its commit")
        func sessionGoesOn() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { session, filesystem, writable in
                    try await writable.makeDirectory("/one", parents: false)
                    try await session.commit()
                    #expect(try await filesystem.stat("/one").kind == .directory)
                    try await writable.makeDirectory("/two", parents: false)
                    try await session.commit()
                }
                #expect(try await disk.debugfs("ls /").contains("two"))
            }
        }

        @Test("A killed server is a crash, and the image is as before")
        func killedServer() async throws {
            try await MountedDisk.with { disk in
                let before = try disk.bytes()
                try await disk.write { session, _, writable in
                    try await writable.makeDirectory("/lost", parents: false)
                    let server = try #require(disk.server())
                    server.signal(SIGKILL)
                    let failure = await #expect(throws: BackendError.self) { try await session.commit() }
                    #expect(failure?.code == .crashed)
                }
                #expect(try disk.bytes() == before)
                #expect(try await disk.check() == .exited(0))
            }
        }

        @Test("A stopped server is killed, and the call that waits for it ends")
        func stoppedServer() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { session, _, writable in
                    try await writable.makeDirectory("/lost", parents: false)
                    let server = try #require(disk.server())
                    server.signal(SIGSTOP)
                    let failure = await #expect(throws: BackendError.self) { try await session.commit() }
                    #expect(failure?.code == .crashed)
                    #expect(failure?.message.contains("stopped") == true)
                }
            }
        }

        @Test("A server that babbles is not believed: the next call fails, nothing is committed")
        func babblingServer() async throws {
            try await MountedDisk.with { disk in
                let before = try disk.bytes()
                try await disk.write { session, filesystem, writable in
                    try await writable.makeDirectory("/lost", parents: false)
                    try await disk.babble()
                    let failure = await #expect(throws: BackendError.self) { _ = try await filesystem.stat("/lost") }
                    #expect(failure?.code == .protocolViolation)
                    let late = await #expect(throws: BackendError.self) { try await session.commit() }
                    #expect(late?.code == .crashed)
                }
                #expect(try disk.bytes() == before)
            }
        }

        @Test("A server that babbles before the commit commits nothing")
        func babbleBeforeCommit() async throws {
            try await MountedDisk.with { disk in
                let before = try disk.bytes()
                try await disk.write { session, _, writable in
                    try await writable.makeDirectory("/lost", parents: false)
                    try await disk.babble()
                    let failure = await #expect(throws: BackendError.self) { try await session.commit() }
                    #expect(failure?.code == .protocolViolation)
                }
                #expect(try disk.bytes() == before)
                #expect(try await disk.check() == .exited(0))
            }
        }

        @Test("A server that dies while a file is read makes no zeros of the rest", arguments: ["auto", "fuse2fs"])
        func killedWhileReading(mounter: String) async throws {
            try await MountedDisk.with(mounter: mounter, size: "96M") { disk in
                let file = disk.folder.appending("file")
                try HostFiles.write([UInt8](repeating: 7, count: 64 << 20), to: file, mode: 0o600)
                _ = try await Tool.check("debugfs", ["-w", "-R", "write \(file) file", disk.image.path.string])
                let session = try await disk.access.open(disk.image, .readOnly)
                let filesystem = try await session.filesystem(on: .whole)
                let server = try #require(disk.server())
                let kill = ProgressSink { _ in server.signal(SIGKILL) }
                let failure = await #expect(throws: BackendError.self) {
                    _ = try await filesystem.copyOut(
                        "/file", to: disk.folder.appending("out"), policy: .faithful, progress: kill)
                }
                #expect(failure?.code == .crashed)
                try await session.close()
            }
        }

        @Test("A server that dies while a file is written is a crash, whatever the file system makes of it")
        func killedWhileWriting() async throws {
            try await MountedDisk.with(mounter: "fuse2fs", size: "96M") { disk in
                let file = disk.folder.appending("file")
                try HostFiles.write([UInt8](repeating: 7, count: 64 << 20), to: file, mode: 0o600)
                try await disk.write { _, _, writable in
                    let server = try #require(disk.server())
                    let kill = ProgressSink { _ in server.signal(SIGKILL) }
                    let failure = await #expect(throws: BackendError.self) {
                        _ = try await writable.copyIn(file, to: "/file", options: CopyInOptions(), progress: kill)
                    }
                    #expect(failure?.code == .crashed)
                }
            }
        }

        @Test("A deadline frees the session from a server that hangs, and nothing stays mounted")
        func deadline() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { session, _, writable in
                    try await writable.makeDirectory("/lost", parents: false)
                    try #require(disk.server()).signal(SIGSTOP)
                    let failure = await #expect(throws: BackendError.self) {
                        try await CallDeadline.$current.withValue(.now + .milliseconds(300)) {
                            try await session.commit()
                        }
                    }
                    #expect(failure?.code == .timeout)
                }
                #expect(disk.server() == nil)
            }
        }

        @Test("A link of the guest leads where it would lead in the guest, never to the host")
        func linksStayInside() async throws {
            try await MountedDisk.with { disk in
                try await disk.write { _, filesystem, writable in
                    try await writable.makeDirectory("/etc", parents: false)
                    try await writable.symlink("/up", target: "../../../../etc")
                    try await writable.symlink("/abs", target: "/etc")
                    try await writable.makeDirectory("/abs/made", parents: false)
                    #expect(try await filesystem.list("/etc", after: nil).entries.map(\.name) == ["made"])
                    #expect(try await filesystem.stat("/up/made").kind == .directory)
                    await #expect(throws: BackendError.self) { try await filesystem.stat("/abs/passwd") }
                }
            }
        }

        @Test(
            "A dirty journal is refused for reading and for writing, and the image is untouched",
            arguments: [AccessMode.readOnly, .readWrite])
        func dirtyJournal(mode: AccessMode) async throws {
            try await MountedDisk.with { disk in
                _ = try await Tool.check("debugfs", ["-w", "-R", "feature needs_recovery", disk.image.path.string])
                let before = try disk.bytes()
                let session = try await disk.access.open(disk.image, mode)
                let failure = await #expect(throws: BackendError.self) { try await session.filesystem(on: .whole) }
                #expect(failure?.code == .corrupt)
                try await session.close()
                #expect(try disk.bytes() == before)
            }
        }

        @Test(
            "An image that is open is in use for the next one, whatever it wants",
            arguments: [AccessMode.readOnly, .readWrite])
        func inUse(mode: AccessMode) async throws {
            try await MountedDisk.with { disk in
                try await disk.write { _, _, _ in
                    let failure = await #expect(throws: BackendError.self) {
                        try await disk.access.open(disk.image, mode)
                    }
                    #expect(failure?.code == .inUse)
                }
            }
        }
    }
}
