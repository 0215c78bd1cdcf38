import Abstractions
import Host

/// Images made by VirtualBox's own tools: `ANYVISOR_FIXTURES`, or `shared/fixtures` beside the checkout.
enum Fixtures {
    static var folder: HostPath? {
        if let named = HostEnvironment.variable("ANYVISOR_FIXTURES") { return HostPath(named) }
        var root = HostPath(#filePath)
        for _ in 0..<3 { root = root.parent }
        let beside = root.parent.appending("shared/fixtures")
        return HostFiles.isDirectory(beside) ? beside : nil
    }

    static func reportMissing() {
        print("SKIPPED: the images of VirtualBox are not here; set ANYVISOR_FIXTURES to their folder")
    }

    static func unpacked(_ name: String, from folder: HostPath, in scratch: Scratch) async throws -> DiskImage {
        let bytes = try await Tool.check("xz", ["-dc", folder.appending(name + ".xz").string]).output
        try HostFiles.write(bytes, to: scratch.path(name))
        return DiskImage(path: scratch.path(name), format: .vdi)
    }
}
