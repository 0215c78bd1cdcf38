import Abstractions
import Testing

@Suite struct PathTests {
    @Test(
        "a guest path is absolute and normal, and never climbs above its root",
        arguments: [
            ("", "/"), ("/", "/"), ("a", "/a"), ("//a///b/", "/a/b"), ("/a/./b/.", "/a/b"), ("/a/../b", "/b"),
            ("../../../etc/passwd", "/etc/passwd"), ("/..", "/"), ("/a/...", "/a/..."),
        ])
    func normalizes(text: String, path: String) { #expect(GuestPath(text).rawValue == path) }

    @Test("names, parents and components fit together")
    func parts() {
        let path: GuestPath = "/a/b/c"
        #expect(path.components == ["a", "b", "c"])
        #expect(path.name == "c")
        #expect(path.parent == "/a/b")
        #expect(GuestPath.root.name == "/")
        #expect(GuestPath.root.parent == .root)
        #expect(path.appending("d/../e") == "/a/b/c/e")
    }

    @Test(
        "every name has one text, and every text its bytes",
        arguments: [
            Array("plain".utf8), Array("ünïcode 日本".utf8), [0xff], [0x80, 0x41, 0xfe], [0xc3, 0x28],
            [0xed, 0xa0, 0x80],
            Array("\u{10FF80}".utf8), [0xf4, 0x8f, 0xbf], [],
        ] as [[UInt8]])
    func roundTrip(bytes: [UInt8]) { #expect(GuestPath.bytes(of: GuestPath.name(of: bytes)) == bytes) }

    @Test("different bytes have different texts, however alike they look")
    func distinct() {
        let names: [[UInt8]] = [
            Array("e\u{301}".utf8), Array("\u{e9}".utf8), [0xe9], [0xc3, 0xa9, 0xff], Array("\u{10FFE9}".utf8),
        ]
        let texts = names.map { Array(GuestPath.name(of: $0).utf8) }
        #expect(Set(texts).count == names.count)
    }

    @Test("a slash before a combining mark is still a slash")
    func combiningMark() { #expect(GuestPath("/a/\u{301}b").components.count == 2) }

    @Test("a host path says its name, folder and extension")
    func hostPaths() {
        let path: HostPath = "/a/b/disk.VDI"
        #expect(path.name == "disk.VDI")
        #expect(path.parent == "/a/b")
        #expect(path.fileExtension == "vdi")
        #expect(HostPath("disk").parent == ".")
        #expect(HostPath("/disk").parent == "/")
        #expect(HostPath(".hidden").fileExtension == "")
        #expect(HostPath("/a/").appending("b") == "/a/b")
        #expect(HostPath("/a").appending("b/c") == "/a/b/c")
    }
}
