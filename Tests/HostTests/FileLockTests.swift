import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct FileLockTests {
    @Test("a lock is held once, in one process too, and free again afterwards")
    func exclusive() async throws {
        try await withFolder { folder in
            let path = folder.appending("lock")
            #expect(!FileLock.isHeld(path))
            do {
                let lock = try FileLock(path)
                #expect(FileLock.isHeld(path))
                let error = #expect(throws: BackendError.self) { try FileLock(path) }
                #expect(error?.code == .inUse)
                withExtendedLifetime(lock) {}
            }
            #expect(!FileLock.isHeld(path))
            _ = try FileLock(path)
        }
    }

    @Test("a lock ends with the process that holds it")
    func endsWithProcess() async throws {
        try await withFolder { folder in
            let path = folder.appending("lock")
            try HostFiles.write([], to: path)
            // Linux's F_OFD_SETLK is 37; the struct is l_type, l_whence, l_start, l_len, l_pid.
            let script = """
                import fcntl,struct,sys
                f=open(sys.argv[1],'r+')
                fcntl.fcntl(f,37,struct.pack('hhqqi',fcntl.F_WRLCK,0,0,0,0))
                print('held',flush=True)
                sys.stdin.read()
                """
            let python = try #require(HostEnvironment.program("python3"))
            let child = try ChildProcess(
                python, ["-c", script, path.string], environment: [:], input: .pipe, errors: .null)
            var byte: UInt8 = 0
            #expect(read(child.output, &byte, 1) == 1)
            #expect(FileLock.isHeld(path))
            child.signal(SIGKILL)
            #expect(await onOwnThread { child.wait() } == .signaled(SIGKILL))
            child.closePipes()
            #expect(!FileLock.isHeld(path))
        }
    }

    @Test("a lock on a file that somebody removed has no name any more")
    func stillNamed() async throws {
        try await withFolder { folder in
            let path = folder.appending("lock")
            let lock = try FileLock(path)
            #expect(lock.isStillNamed)
            unlink(path.string)
            #expect(!lock.isStillNamed)
            try HostFiles.write([], to: path)
            #expect(!lock.isStillNamed)
        }
    }
}
