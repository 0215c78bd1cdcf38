import Abstractions

/// The tree that every disk case reads.
enum StandardTree {
    static let hello = Array("hello, disk\n".utf8)
    static let bigSize = 3 * 1_048_576 + 17
    static let big = pattern(bigSize, seed: 7)
    static let sparseSize: Int64 = 8 << 20
    static let sparseOffset: Int64 = 4 << 20
    static let sparseBytes = pattern(4096, seed: 9)
    static let manyCount = 1_100
    static let deepest = 80

    /// Names that a careless program breaks on, as the bytes a file system holds.
    static let hardNames: [String] =
        [
            "space name", "tab\tname", "new\nline", "-dash", "ünïcode", "e\u{301}", "\u{e9}", "日本語", "quote'\"", "*?[",
            "back\\slash", ".hidden", "percent%20", "colon:name", "…", String(repeating: "n", count: 255),
        ] + [GuestPath.name(of: Array("bad".utf8) + [0xff, 0xfe] + Array("name".utf8)), GuestPath.name(of: [0x80])]

    /// All of it; `specials` adds device nodes, a pipe and owners, which a plain folder cannot hold without root.
    static func make(specials: Bool) -> FixtureTree {
        var tree = FixtureTree()
        tree.folder("/etc")
        tree.file("/etc/hostname", Array("fixture\n".utf8))
        tree.file("/hello.txt", hello, mode: 0o640, uid: specials ? 1_000 : 0, gid: specials ? 1_001 : 0)
        tree.file("/empty", [])
        tree.folder("/empty-folder", mode: 0o700)
        tree.file("/big.bin", big, modified: 1_234_567_890)
        tree.sparse("/sparse.bin", size: sparseSize, sparseBytes, at: sparseOffset)
        tree.file("/setuid", Array("#!/bin/sh\n".utf8), mode: 0o4755)
        tree.link("/link", "hello.txt")
        tree.link("/outside", "/etc")
        tree.link("/dangling", "/nowhere/at/all")
        tree.link("/climber", "../../../../../../etc/passwd")
        tree.file("/hard-a", Array("one file, two names\n".utf8))
        tree.hardLink("/hard-b", to: "/hard-a")
        addTree(&tree)
        tree.folder("/names")
        for (index, name) in hardNames.enumerated() {
            tree.file(GuestPath("/names").appending(name), Array("name \(index)\n".utf8))
        }
        tree.folder("/many")
        for index in 0..<manyCount { tree.file(GuestPath("/many/n\(1_000_000 + index * 7)"), []) }
        var deep: GuestPath = "/deep"
        tree.folder(deep)
        for _ in 1...deepest {
            deep = deep.appending("d")
            tree.folder(deep)
        }
        tree.file(deep.appending("bottom"), Array("deep\n".utf8))
        if specials {
            tree.folder("/nodes")
            tree.node("/nodes/block", .blockDevice, major: 7, minor: 0)
            tree.node("/nodes/char", .characterDevice, major: 1, minor: 3)
            tree.node("/nodes/pipe", .fifo)
            tree.file("/nodes/plain", Array("plain\n".utf8))
        }
        return tree
    }

    private static func addTree(_ tree: inout FixtureTree) {
        tree.folder("/tree", mode: 0o750)
        tree.file("/tree/a", Array("a\n".utf8), mode: 0o644, modified: 1_500_000_001)
        tree.file("/tree/b.sh", Array("#!/bin/sh\nexit 0\n".utf8), mode: 0o755)
        tree.folder("/tree/sub", mode: 0o711)
        tree.file("/tree/sub/c", pattern(70_000, seed: 3), mode: 0o600)
        tree.link("/tree/sub/up", "../a")
        tree.link("/tree/sub/passwd", "/etc/passwd")
        tree.folder("/tree/sub/deeper")
        tree.file("/tree/sub/deeper/d", [], mode: 0o444)
        tree.hardLink("/tree/sub/deeper/a-again", to: "/tree/a")
        tree.file("/tree/sub/suid", Array("suid\n".utf8), mode: 0o6755)
    }
}
