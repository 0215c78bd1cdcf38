import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// A folder of the test's own, removed at the end.
final class Scratch: Sendable {
    let folder: HostPath

    /// - Parameter inMemory: on tmpfs where there is one, for tests of many small commits: their syncs cost nothing there.
    init(inMemory: Bool = false) throws {
        let place = inMemory && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(place)/anyvisor-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw hostError("test", "cannot make a folder") }
        folder = HostPath(String(cString: made))
    }

    deinit { try? HostFiles.removeTree(folder) }

    func path(_ name: String) -> HostPath { folder.appending(name) }
    func names() -> [String] { HostFiles.names(in: folder) }

    func raw(_ size: Int64 = 8 << 20, _ name: String = "disk.raw") throws -> DiskImage {
        let image = DiskImage(path: path(name), format: .raw)
        try VirtualDisk.create(image, size: ByteCount(size))
        return image
    }

    func vdi(_ size: Int64 = 8 << 20, _ name: String = "disk.vdi", fixed: Bool = false) throws -> DiskImage {
        let image = DiskImage(path: path(name), format: .vdi)
        try VirtualDisk.create(image, size: ByteCount(size), fixed: fixed)
        return image
    }
}

/// Bytes that tell their place and seed; made by copying, since a loop over megabytes is slow without optimization.
func pattern(_ count: Int, seed: UInt8) -> [UInt8] {
    var bytes = (0..<min(count, 257)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(seed)) }
    while bytes.count < count { bytes += bytes[..<min(bytes.count, count - bytes.count)] }
    return bytes
}

@Suite struct VirtualDiskTests {
    @Test(arguments: [ImageFormat.raw, .vdi])
    func `what was committed reads back after reopening`(_ format: ImageFormat) throws {
        let scratch = try Scratch()
        let image = format == .raw ? try scratch.raw() : try scratch.vdi()
        let staged = pattern(10_000, seed: 1)
        let fresh = pattern(3 << 20, seed: 2)
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            let transaction = try disk.begin()
            try transaction.write(at: 1_234, bytes: staged)
            try fresh.withUnsafeBytes { try transaction.writeFresh(at: 3 << 20, from: $0) }
            #expect(try transaction.bytes(at: 1_234, count: staged.count) == staged)
            #expect(try disk.content.bytes(at: 1_234, count: 8) == [UInt8](repeating: 0, count: 8))
            try transaction.commit()
        }
        let again = try VirtualDisk.open(image, .readOnly)
        #expect(try again.content.bytes(at: 1_234, count: staged.count) == staged)
        #expect(try again.content.bytes(at: 3 << 20, count: fresh.count) == fresh)
        #expect(scratch.names() == [image.path.name])
    }

    @Test(arguments: [ImageFormat.raw, .vdi])
    func `an aborted transaction leaves the file as it was`(_ format: ImageFormat) throws {
        let scratch = try Scratch()
        let image = format == .raw ? try scratch.raw() : try scratch.vdi()
        let before = try HostFiles.read(image.path)
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            let transaction = try disk.begin()
            try transaction.write(at: 0, bytes: pattern(5_000, seed: 3))
            if format == .vdi {
                try pattern(9_000, seed: 4).withUnsafeBytes { try transaction.writeFresh(at: 1 << 20, from: $0) }
            }
            transaction.abort()
            #expect(throws: BackendError.self) { try transaction.write(at: 0, bytes: [1]) }
        }
        #expect(try HostFiles.read(image.path) == before)
        #expect(scratch.names() == [image.path.name])
    }

    @Test func `a transaction larger than memory goes through the log`() throws {
        let scratch = try Scratch()
        let image = try scratch.vdi(128 << 20)
        let chunk = pattern(1 << 20, seed: 9)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            for index in 0..<48 { try transaction.write(at: Int64(index) << 20 + 512, bytes: chunk) }
            #expect(scratch.names().contains { $0.contains(".redo.") })
            try transaction.commit()
        }
        let disk = try VirtualDisk.open(image, .readOnly)
        for index in 0..<47 {
            #expect(try disk.content.bytes(at: Int64(index) << 20 + 512, count: 1 << 19) == Array(chunk[..<(1 << 19)]))
        }
        #expect(scratch.names() == [image.path.name])
    }

    @Test func `a second writer and a reader beside a writer are refused`() throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        let writer = try VirtualDisk.open(image, .readWrite)
        for mode in [AccessMode.readWrite, .readOnly] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .inUse)
        }
        withExtendedLifetime(writer) {}
    }

    @Test func `readers share and keep a writer out`() throws {
        let scratch = try Scratch()
        let image = try scratch.raw()
        let readers = try [VirtualDisk.open(image, .readOnly), VirtualDisk.open(image, .readOnly)]
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readWrite) }
        #expect(error?.code == .inUse)
        withExtendedLifetime(readers) {}
    }

    @Test func `ranges outside the disk are refused`() throws {
        let scratch = try Scratch()
        let transaction = try VirtualDisk.open(try scratch.raw(1 << 20), .readWrite).begin()
        #expect(throws: BackendError.self) { try transaction.write(at: (1 << 20) - 1, bytes: [1, 2]) }
        #expect(throws: BackendError.self) { try transaction.bytes(at: -1, count: 1) }
    }

    @Test func `export and import keep every byte`() throws {
        let scratch = try Scratch()
        let source = scratch.path("source.raw")
        try HostFiles.write(
            pattern(1 << 20, seed: 1) + [UInt8](repeating: 0, count: 3 << 20) + pattern(512, seed: 5), to: source)
        let image = DiskImage(path: scratch.path("made.vdi"), format: .vdi)
        try VirtualDisk.importRaw(source, as: image)
        try VirtualDisk.open(image, .readOnly).export(to: scratch.path("out.raw"))
        #expect(try HostFiles.read(scratch.path("out.raw")) == HostFiles.read(source))
    }
}
