import Abstractions
import Host
import Testing
import VirtualDisk

@testable import VDFuseBackend

#if canImport(Glibc)
    import Glibc
#endif

/// Writing through to an image, without a mount.
struct ThroughViewTests {
    private static let size: Int64 = 3 << 20

    private func with(_ format: ImageFormat, _ body: (DiskImage) throws -> Void) throws {
        let folder = try RunScope.makeProcessFolder("through-test")
        defer { try? HostFiles.removeTree(folder) }
        let image = DiskImage(path: folder.appending("disk"), format: format)
        try VirtualDisk.create(image, size: ByteCount(ThroughViewTests.size))
        try body(image)
    }

    private func write(_ view: ThroughView, _ byte: UInt8, at offset: Int64, count: Int) throws {
        let bytes = [UInt8](repeating: byte, count: count)
        try bytes.withUnsafeBytes { try view.write(at: offset, from: $0) }
    }

    private func read(_ view: ThroughView, at offset: Int64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try view.read(at: offset, into: $0) }
        return bytes
    }

    private func committed(_ image: DiskImage, at offset: Int64, count: Int) throws -> [UInt8] {
        try VirtualDisk.open(image, .readOnly).content.bytes(at: offset, count: count)
    }

    @Test(arguments: [ImageFormat.raw, .vdi])
    func `a change past the limit is shown at once and is whole after its sync`(_ format: ImageFormat) throws {
        try with(format) { image in
            let view = try ThroughView(image, .readWrite, stagedLimit: 256 << 10)
            for number in 0..<48 { try write(view, UInt8(number + 1), at: Int64(number) << 16, count: 1 << 16) }
            for number in 0..<48 { #expect(try read(view, at: Int64(number) << 16, count: 1) == [UInt8(number + 1)]) }
            try write(view, 99, at: 70_001, count: 3)
            try view.sync()
            view.close()
            let content = try committed(image, at: 0, count: Int(ThroughViewTests.size))
            for number in 0..<48 { #expect(content[number << 16] == UInt8(number + 1)) }
            #expect(content[70_000...70_004] == [2, 99, 99, 99, 2])
        }
    }

    @Test(arguments: [ImageFormat.raw, .vdi])
    func `a change below the limit that is not synced never happened`(_ format: ImageFormat) throws {
        try with(format) { image in
            let view = try ThroughView(image, .readWrite)
            try write(view, 1, at: 4096, count: 4096)
            try view.sync()
            try write(view, 2, at: 4096, count: 100_000)
            #expect(view.syncDeadline != nil)
            view.close()
            #expect(try committed(image, at: 4096, count: 4096).allSatisfy { $0 == 1 })
            #expect(try committed(image, at: 8192, count: 4096).allSatisfy { $0 == 0 })
        }
    }

    @Test func `a range outside the disk is the only error that is not final`() throws {
        try with(.raw) { image in
            let view = try ThroughView(image, .readWrite)
            #expect(throws: BackendError.self) { try write(view, 1, at: ThroughViewTests.size - 1, count: 2) }
            try write(view, 1, at: 0, count: 1)
            try view.sync()
            view.close()
            #expect(throws: BackendError.self) { try write(view, 1, at: 0, count: 1) }
            #expect(throws: BackendError.self) { try view.sync() }
        }
    }

    @Test func `a damaged partition table is a warning, and the disk shows`() throws {
        try with(.raw) { image in
            var sector = [UInt8](repeating: 0, count: 512)
            // One partition that starts behind the disk's end.
            sector.replaceSubrange(446..<462, with: [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0])
            sector.replaceSubrange(510..<512, with: [0x55, 0xaa])
            let file = open(image.path.string, O_WRONLY)
            #expect(pwrite(file, sector, 512, 0) == 512)
            Glibc.close(file)
            let view = try ThroughView(image, .readWrite)
            #expect(view.warning?.contains("not inside the disk") == true)
            #expect(view.volumes.isEmpty)
            try write(view, 0, at: 446, count: 66)
            try view.sync()
            view.close()
        }
    }
}
