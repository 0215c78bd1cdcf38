import Abstractions
import Host
import Testing

@testable import VBoxManageBackend

@Suite("the layers of VirtualBox's snapshots")
struct DifferencingImageTests {
    @Test("a block that was written is found, and none where none was", arguments: [ImageFormat.vdi, .vmdk, .vhd])
    func blocks(format: ImageFormat) async throws {
        try await withImage(format) { image, driver in
            #expect(try DifferencingImage.blocks(in: image) == 0)
            _ = try await Tool.check("qemu-io", ["-f", driver, "-c", "write -P 7 3M 512", image.string])
            #expect(try DifferencingImage.blocks(in: image) == 1)
            _ = try await Tool.check("qemu-io", ["-f", driver, "-c", "write -P 7 33M 512", image.string])
            #expect(try DifferencingImage.blocks(in: image) == 2)
        }
    }

    @Test(
        "tables that end too early are corrupt, and another format is unsupported", arguments: [ImageFormat.vmdk, .vhd])
    func damaged(format: ImageFormat) async throws {
        try await withImage(format) { image, _ in
            try HostFiles.write(Array(HostFiles.read(image).prefix(1024)), to: image)
            #expect { try DifferencingImage.blocks(in: image) } throws: { ($0 as? BackendError)?.code == .corrupt }
            try HostFiles.write([UInt8](repeating: 0, count: 1024), to: image)
            #expect { try DifferencingImage.blocks(in: image) } throws: { ($0 as? BackendError)?.code == .unsupported }
        }
    }

    private func withImage(_ format: ImageFormat, _ body: (HostPath, String) async throws -> Void) async throws {
        let folder = try RunScope.makeProcessFolder("differencing-test")
        defer { try? HostFiles.removeTree(folder) }
        let image = folder.appending("layer.\(format)")
        let driver = format == .vhd ? "vpc" : format.rawValue
        _ = try await Tool.check("qemu-img", ["create", "-q", "-f", driver, image.string, "64M"])
        try await body(image, driver)
    }
}
