import Abstractions
import Host
import Synchronization
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// A file whose writes stop working at the nth call, as if the process had died there.
private final class DyingFile: ImageFile {
    private let base: PosixFile
    private let left: Mutex<Int>

    init(_ base: PosixFile, after calls: Int) {
        self.base = base
        left = Mutex(calls)
    }

    private func step() throws {
        let alive = left.withLock { left in
            left -= 1
            return left >= 0
        }
        if !alive { throw BackendError(.internal, "test", "the process died here") }
    }

    var path: HostPath { base.path }
    func length() throws -> Int64 { try base.length() }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(at: offset, into: buffer)
    }
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try step()
        try base.write(at: offset, from: buffer)
    }
    func reserve(at offset: Int64, count: Int64) throws { try step() }
    func truncate(to length: Int64) throws { try base.truncate(to: length) }
    func sync() throws {
        try step()
        try base.sync()
    }
}

@Suite struct RecoveryTests {
    private let old = pattern(20_000, seed: 1)
    private let new = pattern(20_000, seed: 77)

    private func prepared(_ scratch: Scratch, _ format: ImageFormat) throws -> DiskImage {
        let image = format == .raw ? try scratch.raw() : try scratch.vdi()
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        try transaction.write(at: 1 << 20, bytes: old)
        try transaction.commit()
        return image
    }

    @Test(arguments: [ImageFormat.raw, .vdi])
    func `a death at any host call leaves the old or the new content`(_ format: ImageFormat) throws {
        var sawOld = false
        var sawNew = false
        for calls in 0..<60 {
            let scratch = try Scratch()
            let image = try prepared(scratch, format)
            var finished = false
            do {
                let file = DyingFile(try PosixFile(image.path, O_RDWR), after: calls)
                let transaction = try VirtualDisk(image, .readWrite, file).begin()
                try transaction.write(at: 1 << 20, bytes: new)
                try transaction.write(at: 5 << 20, bytes: new)
                try transaction.commit()
                finished = true
            } catch {}
            let disk = try VirtualDisk.open(image, .readWrite)
            let now = try disk.content.bytes(at: 1 << 20, count: old.count)
            let second = try disk.content.bytes(at: 5 << 20, count: old.count)
            let isOld = now == old && second.allSatisfy { $0 == 0 }
            let isNew = now == new && second == new
            #expect(isOld || isNew, "after \(calls) calls the content is neither old nor new")
            #expect(scratch.names() == [image.path.name])
            sawOld = sawOld || isOld
            sawNew = sawNew || isNew
            if finished { break }
        }
        #expect(sawOld && sawNew)
    }

    @Test func `a log without its end is dropped`() throws {
        let scratch = try Scratch()
        let image = try prepared(scratch, .raw)
        let log = RedoLog.path(of: image.path)
        try HostFiles.write(pattern(9_000, seed: 3), to: log)
        let disk = try VirtualDisk.open(image, .readWrite)
        #expect(try disk.content.bytes(at: 1 << 20, count: old.count) == old)
        #expect(!HostFiles.exists(log))
    }

    @Test func `a whole log with one flipped bit is dropped`() throws {
        let scratch = try Scratch()
        let image = try prepared(scratch, .raw)
        let kept = scratch.path("kept")
        do {
            let file = try PosixFile(image.path, O_RDWR)
            let log = RedoLog.path(of: image.path)
            let disk = try VirtualDisk(image, .readWrite, file) { step in
                if step == .committed { link(log.string, kept.string) }
            }
            let transaction = try disk.begin()
            try transaction.write(at: 1 << 20, bytes: old)
            try transaction.commit()
        }
        var bytes = try HostFiles.read(kept)
        bytes[5_000] ^= 1
        try HostFiles.write(bytes, to: RedoLog.path(of: image.path))
        let disk = try VirtualDisk.open(image, .readWrite)
        #expect(try disk.content.bytes(at: 1 << 20, count: old.count) == old)
    }

    @Test func `drafts of the dead are removed by the next writer`() throws {
        let scratch = try Scratch()
        let image = try prepared(scratch, .raw)
        try HostFiles.write([1, 2, 3], to: HostPath(image.path.string + ".redo.dead-1-1"))
        _ = try VirtualDisk.open(image, .readWrite)
        #expect(scratch.names() == [image.path.name])
    }
}
