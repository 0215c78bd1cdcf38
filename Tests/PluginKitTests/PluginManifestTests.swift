import Abstractions
import Host
import PluginKit
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("A plugin's manifest")
struct PluginManifestTests {
    private func read(_ manifest: String, prepare: (HostPath) -> Void = { _ in }) throws -> PluginManifest {
        let folder = try temporaryFolder()
        defer { try? HostFiles.removeTree(folder) }
        try HostFiles.write(Array(manifest.utf8), to: folder.appending("plugin.json"))
        try HostFiles.write(Array("#!/bin/sh\n".utf8), to: folder.appending("run"), mode: 0o755)
        prepare(folder)
        return try PluginManifest(folder: folder)
    }

    @Test("needs a name, a kind and a program")
    func least() throws {
        let manifest = try read(#"{"name": "x-1", "kind": "hypervisor", "program": "run"}"#)
        #expect(manifest.kind == .hypervisor && manifest.options.isEmpty)
        #expect(throws: BackendError.self) { try read(#"{"name": "x", "kind": "disk"}"#) }
    }

    @Test("its name is one path component", arguments: ["", "a/b", "..", "a b", "é"])
    func name(text: String) throws {
        #expect(throws: BackendError.self) { try read(#"{"name": "\#(text)", "kind": "disk", "program": "run"}"#) }
    }

    @Test("its program lies inside the folder", arguments: ["../run", "/bin/sh", "a/../../run", ""])
    func program(text: String) throws {
        #expect(throws: BackendError.self) { try read(#"{"name": "x", "kind": "disk", "program": "\#(text)"}"#) }
    }

    @Test("nobody else may have a hand in it", arguments: ["plugin.json", "run", "."])
    func permissions(file: String) throws {
        let error = #expect(throws: BackendError.self) {
            try read(#"{"name": "x", "kind": "disk", "program": "run"}"#) {
                chmod($0.appending(file).string, 0o777)
            }
        }
        #expect(error?.code == .permissionDenied)
    }

    @Test("a program that is missing is unavailable, and the option that is unknown is refused")
    func missing() throws {
        let manifest = try read(#"{"name": "x", "kind": "disk", "program": "not-here"}"#)
        let error = #expect(throws: BackendError.self) { try manifest.programFile() }
        #expect(error?.code == .unavailable)
    }
}
