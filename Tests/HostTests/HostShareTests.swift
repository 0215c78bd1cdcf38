import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct HostShareTests {
    @Test("users of one kind share, one of another kind is told who has it until all have given it back")
    func kinds() async throws {
        try await withFolder { folder in
            let first = try HostShare.take("virtualization", as: "kvm", in: folder)
            let second = try HostShare.take("virtualization", as: "kvm", in: folder)
            let other = try HostShare.take("something", as: "virtualbox", in: folder)
            for share in [first, second] {
                let error = #expect(throws: BackendError.self) {
                    try HostShare.take("virtualization", as: "virtualbox", in: folder)
                }
                #expect(error?.code == .inUse)
                #expect(error?.message.contains("kvm has this host's virtualization") == true)
                #expect(error?.message.contains("process \(getpid())") == true)
                share.release()
            }
            let late = try HostShare.take("virtualization", as: "virtualbox", in: folder)
            first.release()
            #expect(throws: BackendError.self) { try HostShare.take("virtualization", as: "kvm", in: folder) }
            for share in [late, other] { share.release() }
            #expect(HostFiles.names(in: folder).isEmpty)
        }
    }

    @Test("a share that was let go is given back, and its file removed")
    func letGo() async throws {
        try await withFolder { folder in
            do {
                let share = try HostShare.take("virtualization", as: "kvm", in: folder)
                #expect(HostFiles.names(in: folder).count == 1)
                withExtendedLifetime(share) {}
            }
            #expect(HostFiles.names(in: folder).isEmpty)
        }
    }

    @Test("a share ends with the process that has it; the next user removes what is left of it")
    func endsWithProcess() async throws {
        try await withFolder { folder in
            let path = folder.appending("anyvisor-virtualization-xen-1")
            let script = """
                import fcntl,sys
                f=open(sys.argv[1],'w')
                fcntl.flock(f,fcntl.LOCK_EX)
                f.write('a\\x1b[31m script')
                f.flush()
                print('held',flush=True)
                sys.stdin.read()
                """
            let python = try #require(HostEnvironment.program("python3"))
            let child = try ChildProcess(
                python, ["-c", script, path.string], environment: [:], input: .pipe, errors: .null)
            var byte: UInt8 = 0
            #expect(read(child.output, &byte, 1) == 1)
            let error = #expect(throws: BackendError.self) {
                try HostShare.take("virtualization", as: "kvm", in: folder)
            }
            // What it says of itself cannot steer a terminal.
            #expect(error?.message == "xen has this host's virtualization, which kvm needs: a[31m script")
            child.signal(SIGKILL)
            #expect(await onOwnThread { child.wait() } == .signaled(SIGKILL))
            child.closePipes()
            let share = try HostShare.take("virtualization", as: "kvm", in: folder)
            #expect(!HostFiles.exists(path))
            share.release()
        }
    }

    @Test("what is no share's file keeps nobody from a share, and is not followed")
    func hostileFiles() async throws {
        try await withFolder { folder in
            let target = folder.appending("target")
            try HostFiles.write(Array("kept".utf8), to: target)
            symlink(target.string, folder.appending("anyvisor-virtualization-xen-link").string)
            mkfifo(folder.appending("anyvisor-virtualization-xen-pipe").string, 0o644)
            mkdir(folder.appending("anyvisor-virtualization-xen-folder").string, 0o755)
            let share = try HostShare.take("virtualization", as: "kvm", in: folder)
            share.release()
            #expect(try HostFiles.readText(target) == "kept")
        }
    }
}
