import Abstractions
import FoundationEssentials
import Host
import Testing

@testable import VBoxManageBackend

private struct Manifest: Decodable {
    var name: String
    var kind: BackendKind
    var summary: String
    var program: String
    var options: [OptionDeclaration]
}

@Suite("manifest")
struct ManifestTests {
    @Test("the manifest says what the descriptor says")
    func manifest() throws {
        let folder = HostPath(#filePath).parent.parent.parent.appending("plugins/vboxmanage")
        let bytes = try HostFiles.read(folder.appending("plugin.json"))
        let manifest = try JSONDecoder().decode(Manifest.self, from: Data(bytes))
        let descriptor = VBoxManageBackend.descriptor
        #expect(manifest.name == descriptor.name && manifest.kind == descriptor.kind)
        #expect(manifest.summary == descriptor.summary && manifest.options == descriptor.options)
        #expect(manifest.program == "anyvisor-vboxmanage")
    }
}
