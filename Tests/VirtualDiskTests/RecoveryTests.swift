import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// What an opening finds beside an image.
@Suite struct RecoveryTests {
    private let old = pattern(20_000, seed: 1)
    private let new = pattern(20_000, seed: 77)

    private func prepared(_ scratch: Scratch, _ name: String = "disk.vdi") throws -> DiskImage {
        let image = try scratch.smallVDI(256 << 10, name)
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        try transaction.write(at: 100_000, bytes: old)
        try transaction.commit()
        return image
    }

    /// Dies right after the commit point, so that a whole log lies beside an image that is still old.
    private func committed(_ image: DiskImage) throws {
        let log = RedoLog.path(of: image.path)
        for calls in 0..<100 {
            let host = FragileHost(.death, after: calls)
            let transaction = try host.open(image).begin()
            try? transaction.write(at: 100_000, bytes: new)
            try? transaction.commit()
            if HostFiles.exists(log) { return }
            for name in HostFiles.names(in: image.path.parent) where name.contains(".redo.") {
                try HostFiles.removeTree(image.path.parent.appending(name))
            }
        }
        Issue.record("no death left a log")
    }

    private func content(_ image: DiskImage, _ mode: AccessMode = .readWrite) throws -> [UInt8] {
        try VirtualDisk.open(image, mode).content.bytes(at: 100_000, count: old.count)
    }

    @Test func `a whole log is applied by the next open, by recover, and by a reader`() throws {
        for open in 0..<3 {
            let scratch = try Scratch(inMemory: true)
            let image = try prepared(scratch)
            try committed(image)
            if open == 0 { #expect(try VirtualDisk.recover(image)) }
            #expect(try content(image, open == 1 ? .readWrite : .readOnly) == new)
            #expect(scratch.names() == [image.path.name])
        }
    }

    @Test func `a reader that may not write sees the committed content through the log`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        try committed(image)
        let before = try HostFiles.read(image.path)
        // Another reader keeps the write lock away, as missing permissions would (root has them all).
        let file = try PosixFile(image.path, O_RDONLY)
        try ImageLock.take(file, .readOnly)
        #expect(try content(image, .readOnly) == new)
        #expect(try HostFiles.read(image.path) == before)
        withExtendedLifetime(file) {}
    }

    @Test func `a log without its end is dropped`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        try committed(image)
        let log = RedoLog.path(of: image.path)
        try HostFiles.write(HostFiles.read(log).dropLast(1), to: log)
        #expect(try content(image) == old)
        #expect(scratch.names() == [image.path.name])
    }

    @Test func `a log with one flipped bit is dropped`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        try committed(image)
        let log = RedoLog.path(of: image.path)
        var bytes = try HostFiles.read(log)
        bytes[5_000] ^= 1
        try HostFiles.write(bytes, to: log)
        #expect(try content(image) == old)
    }

    @Test func `a log of another image is neither applied nor removed`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        let other = try prepared(scratch, "other.vdi")
        try committed(other)
        try HostFiles.write(HostFiles.read(RedoLog.path(of: other.path)), to: RedoLog.path(of: image.path))
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .corrupt)
            #expect(error?.message.contains("belongs to another image") == true)
        }
        #expect(HostFiles.exists(RedoLog.path(of: image.path)))
    }

    @Test func `files of people whose names look like ours are left alone`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        let names = ["disk.vdi.redo.img", "disk.vdi.redo.a-1-2", "disk.vdi.redo.a-1-b"]
        for name in names { try HostFiles.write(Array("precious".utf8), to: scratch.path(name)) }
        #expect(try content(image) == old)
        #expect(scratch.names() == [image.path.name] + names.sorted())
        try HostFiles.write(Array("precious".utf8), to: RedoLog.path(of: image.path))
        #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readWrite) }
        #expect(try HostFiles.readText(RedoLog.path(of: image.path)) == "precious")
    }

    @Test func `drafts of the dead are removed by the next writer, by recover, and when the image is gone`() throws {
        for way in 0..<3 {
            let scratch = try Scratch(inMemory: true)
            let image = try prepared(scratch)
            try HostFiles.write(RedoLog.draftMagic, to: HostPath(image.path.string + ".redo.dead-1-1"))
            try HostFiles.write([], to: HostPath(image.path.string + ".redo.dead-1-2"))
            if way == 2 { try HostFiles.removeTree(image.path) }
            if way == 0 { _ = try VirtualDisk.open(image, .readWrite) } else { try VirtualDisk.recover(image) }
            #expect(scratch.names() == (way == 2 ? [] : [image.path.name]))
        }
    }

    @Test func `recover leaves an image alone that somebody has open`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        let transaction = try VirtualDisk.open(image, .readWrite).begin()
        try transaction.write(at: 0, bytes: new)
        let error = #expect(throws: BackendError.self) { try VirtualDisk.recover(image) }
        #expect(error?.code == .inUse)
        try transaction.commit()
    }

    @Test func `a transaction that is dropped leaves nothing, and the next may begin`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try scratch.vdi(128 << 20)
        let disk = try VirtualDisk.open(image, .readWrite)
        do {
            let transaction = try disk.begin()
            for index in 0..<40 { try transaction.write(at: Int64(index) << 20, bytes: pattern(1 << 20, seed: 1)) }
            #expect(scratch.names().count == 2)
        }
        #expect(scratch.names() == [image.path.name])
        try disk.begin().abort()
    }

    @Test func `the log of an image opened by a link lies beside the image`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        try committed(image)
        try HostFiles.makeDirectories(scratch.path("elsewhere"))
        let link = DiskImage(path: scratch.path("elsewhere/link.vdi"), format: .vdi)
        #expect(symlink(image.path.string, link.path.string) == 0)
        #expect(try content(link) == new)
        #expect(scratch.names() == [image.path.name, "elsewhere"])
    }

    @Test func `the log of a private image is private`() throws {
        let scratch = try Scratch(inMemory: true)
        let image = try prepared(scratch)
        chmod(image.path.string, 0o600)
        try committed(image)
        var info = stat()
        #expect(stat(RedoLog.path(of: image.path).string, &info) == 0 && info.st_mode & 0o777 == 0o600)
    }
}
