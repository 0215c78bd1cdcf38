import Abstractions
import FoundationEssentials
import Host
import Testing

@testable import LibvirtBackend

private struct Manifest: Decodable {
    var name: String
    var kind: BackendKind
    var summary: String
    var program: String
    var arguments: [String]
    var options: [OptionDeclaration]
}

@Suite("manifests")
struct ManifestTests {
    @Test(
        "each dialect has a manifest that says what its descriptor says",
        arguments: ["qemu", "kvm", "vbox", "xen", "test"])
    func manifest(name: String) throws {
        let folder = HostPath(#filePath).parent.parent.parent.appending("plugins/\(name)")
        let bytes = try HostFiles.read(folder.appending("plugin.json"))
        let manifest = try JSONDecoder().decode(Manifest.self, from: Data(bytes))
        let descriptor = try #require(LibvirtBackend.descriptor(dialect: name))
        #expect(manifest.name == descriptor.name && manifest.kind == .hypervisor)
        #expect(manifest.summary == descriptor.summary)
        #expect(manifest.program == "anyvisor-libvirt" && manifest.arguments == ["--dialect", name])
        #expect(manifest.options == descriptor.options)
    }

    @Test("there is no dialect but these")
    func names() {
        #expect(LibvirtBackend.descriptors.map(\.name) == ["qemu", "kvm", "vbox", "xen", "test"])
        #expect(LibvirtBackend.descriptor(dialect: "zzz") == nil)
    }
}
