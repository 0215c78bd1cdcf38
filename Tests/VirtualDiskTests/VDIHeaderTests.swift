import Abstractions
import Host
import Testing

@testable import VirtualDisk

@Suite struct VDIHeaderTests {
    private func damaged(_ change: (inout [UInt8]) -> Void) throws -> BackendError? {
        let scratch = try Scratch()
        let image = try scratch.smallVDI(256 << 10)
        do {
            let transaction = try VirtualDisk.open(image, .readWrite).begin()
            try transaction.write(at: 0, bytes: pattern(180_000, seed: 1))
            try transaction.commit()
        }
        var bytes = try HostFiles.read(image.path)
        change(&bytes)
        try HostFiles.write(bytes, to: image.path)
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, .readOnly) }
        #expect(try HostFiles.read(image.path) == bytes, "a refused image was changed")
        return error
    }

    @Test func `a wrong signature is corrupt`() throws {
        #expect(try damaged { $0[0x40] = 0 }?.code == .corrupt)
    }

    @Test func `a truncated file is corrupt`() throws {
        let error = try damaged { $0.removeLast(4096) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("truncated") == true)
    }

    @Test func `a block map entry out of range is corrupt`() throws {
        let error = try damaged { $0.replaceSubrange(512..<516, with: [9, 0, 0, 0]) }
        #expect(error?.message.contains("out of range") == true)
    }

    @Test func `a block map entry that stands twice is corrupt`() throws {
        let error = try damaged { $0.replaceSubrange(512..<516, with: [1, 0, 0, 0]) }
        #expect(error?.message.contains("twice") == true)
    }

    @Test func `a differencing image without a parent, and a parent in another image, are corrupt`() throws {
        #expect(try damaged { $0[0x4c] = 4 }?.code == .corrupt)
        #expect(try damaged { $0[0x1a8] = 1 }?.code == .corrupt)
    }

    @Test func `a block size that is no power of two is corrupt`() throws {
        #expect(try damaged { $0[0x178] = 1 }?.code == .corrupt)
    }
}
