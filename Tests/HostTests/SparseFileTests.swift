import Abstractions
import Host
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct SparseFileTests {
    private func pattern(_ count: Int, _ seed: UInt8) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0) ^ seed }
    }

    @Test("a disk becomes a copy of another file in its place, with nothing of what it held before")
    func fills() async throws {
        try await withFolder { folder in
            let disk = try SparseFile(making: folder.appending("disk"), size: 8 << 20)
            // Somebody else has it open all the time, as a machine has.
            let reader = open(disk.path.string, O_RDONLY)
            defer { close(reader) }
            try disk.write(pattern(70_000, 1), at: 5 << 20)
            let job = folder.appending("job")
            try HostFiles.write(pattern(300_000, 2), to: job)
            try disk.fill(from: job)
            var wanted = pattern(300_000, 2)
            wanted += [UInt8](repeating: 0, count: (8 << 20) - wanted.count)
            var seen = [UInt8](repeating: 9, count: 8 << 20)
            #expect(pread(reader, &seen, seen.count, 0) == seen.count)
            #expect(seen == wanted)
        }
    }

    @Test("its beginning is copied into a file of that size, holes as holes")
    func copiesOut() async throws {
        try await withFolder { folder in
            let disk = try SparseFile(making: folder.appending("disk"), size: 64 << 20)
            try disk.write([1, 2, 3], at: 0)
            try disk.write([4, 5], at: (32 << 20) - 1)
            let target = folder.appending("out")
            try HostFiles.write([9, 9, 9, 9], to: target)
            try disk.copyOut(32 << 20, to: target)
            let bytes = try HostFiles.read(target)
            #expect(bytes.count == 32 << 20)
            #expect(bytes.prefix(4) == [1, 2, 3, 0] && bytes.last == 4)
            var info = stat()
            #expect(stat(target.string, &info) == 0 && info.st_blocks * 512 < 1 << 20)
        }
    }

    @Test("a longer file is refused, and a file that exists is not made again")
    func refuses() async throws {
        try await withFolder { folder in
            let path = folder.appending("disk")
            let disk = try SparseFile(making: path, size: 4096)
            let job = folder.appending("job")
            try HostFiles.write(pattern(4097, 0), to: job)
            #expect(throws: BackendError.self) { try disk.fill(from: job) }
            let error = #expect(throws: BackendError.self) { try SparseFile(making: path, size: 4096) }
            #expect(error?.code == .alreadyExists)
        }
    }
}

@Suite struct FileChangesTests {
    @Test("each write to a file is told, of a missing one nothing")
    func tells() async throws {
        try await withFolder { folder in
            let path = folder.appending("log")
            #expect(FileChanges(of: path) {} == nil)
            try HostFiles.write([], to: path)
            let (told, teller) = AsyncStream.makeStream(of: Void.self)
            let changes = try #require(FileChanges(of: path) { teller.yield() })
            var iterator = told.makeAsyncIterator()
            for _ in 0..<3 {
                let descriptor = open(path.string, O_WRONLY | O_APPEND)
                try HostFiles.writeAll(descriptor, [1], path)
                close(descriptor)
                await iterator.next()
            }
            withExtendedLifetime(changes) {}
        }
    }
}
