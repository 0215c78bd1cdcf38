import Abstractions
import Host
import Testing

/// Images made by VirtualBox's own tools; `Tests/Fixtures/images/manifest.json` says what they are.
enum Fixtures {
    struct Image: Sendable, CustomTestStringConvertible {
        var name: String
        /// Of its content.
        var sha256: String
        /// The files of the layers below it.
        var parents: [String] = []

        var testDescription: String { name }

        /// Unpacks the image and its parents.
        func unpacked(in scratch: Scratch) async throws -> DiskImage {
            let folder = HostPath(#filePath).parent.parent.appending("Fixtures/images")
            for name in parents + [name] {
                let bytes = try await Tool.check("xz", ["-dc", folder.appending(name + ".xz").string]).output
                try HostFiles.write(bytes, to: scratch.path(name))
            }
            return DiskImage(
                path: scratch.path(name), format: ImageFormat(rawValue: HostPath(name).fileExtension))
        }
    }

    private static let base = "e5ef46ce314efb8aed698524e02386d36d7e25f87e6449c291df88b0b43052ae"

    static let images = [
        Image(name: "dynamic.vdi", sha256: base), Image(name: "fixed.vdi", sha256: base),
        Image(name: "chain-base.vdi", sha256: base),
        Image(
            name: "chain-layer1.vdi", sha256: "1de987ca4feb86b178f957dd0def6ee3440ec6956842cb76b4b1b7418b5f9e39",
            parents: ["chain-base.vdi"]),
        Image(
            name: "chain-layer2.vdi", sha256: "43ad0a3608e82ac978f08bd438c21fa2725c7756572c243627e854783c0f1ac8",
            parents: ["chain-base.vdi", "chain-layer1.vdi"]),
        Image(name: "sparse.vmdk", sha256: base), Image(name: "flat.vmdk", sha256: base, parents: ["flat-flat.vmdk"]),
        Image(
            name: "diff.vmdk", sha256: "46bf8a1936eba2e99805847de95dcbddc81cf9a6a182a64c615cbbea0eaff383",
            parents: ["sparse.vmdk"]),
        Image(name: "dynamic.vhd", sha256: base),
        Image(
            name: "diff.vhd", sha256: "f548704adef42460b02de060f0c4cefa7ef590fcab366ac846858e1c88d8cdce",
            parents: ["dynamic.vhd"]),
    ]

    static func image(_ name: String) -> Image { images.first { $0.name == name } ?? Image(name: name, sha256: "") }
}
