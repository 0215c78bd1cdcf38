import Abstractions

/// A known tree, to be put into an image or a host folder.
struct FixtureTree: Sendable {
    /// One name in the tree.
    struct Entry: Sendable {
        var path: GuestPath
        var kind: FileKind
        var mode: UInt32
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        /// Seconds since 1970: what every file system can keep.
        var modifiedSeconds: Int64 = 1_600_000_000
        /// Pieces of content; what lies between them is a hole.
        var content: [(offset: Int64, bytes: [UInt8])] = []
        var size: Int64 = 0
        var target: String?
        /// The first name of the same file.
        var hardLink: GuestPath?
        var device: (major: Int, minor: Int) = (0, 0)
    }

    /// Parents before their children.
    private(set) var entries: [Entry] = []

    mutating func folder(_ path: GuestPath, mode: UInt32 = 0o755) {
        entries.append(Entry(path: path, kind: .directory, mode: mode))
    }

    mutating func file(
        _ path: GuestPath, _ bytes: [UInt8], mode: UInt32 = 0o644, uid: UInt32 = 0, gid: UInt32 = 0,
        modified: Int64 = 1_600_000_000
    ) {
        entries.append(
            Entry(
                path: path, kind: .file, mode: mode, uid: uid, gid: gid, modifiedSeconds: modified,
                content: bytes.isEmpty ? [] : [(Int64(0), bytes)], size: Int64(bytes.count)))
    }

    mutating func sparse(_ path: GuestPath, size: Int64, _ bytes: [UInt8], at offset: Int64) {
        entries.append(Entry(path: path, kind: .file, mode: 0o644, content: [(offset, bytes)], size: size))
    }

    mutating func link(_ path: GuestPath, _ target: String) {
        entries.append(Entry(path: path, kind: .symlink, mode: 0o777, target: target))
    }

    mutating func hardLink(_ path: GuestPath, to first: GuestPath) {
        entries.append(Entry(path: path, kind: .file, mode: 0, hardLink: first))
    }

    mutating func node(_ path: GuestPath, _ kind: FileKind, major: Int = 0, minor: Int = 0) {
        entries.append(Entry(path: path, kind: kind, mode: 0o600, device: (major, minor)))
    }
}

/// Bytes without zeros that differ from place to place: a block of a prime length, again and again.
func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
    var state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
    let block = (0..<min(count, 65_537)).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 33) | 1
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count { bytes += block.prefix(count - bytes.count) }
    return bytes
}
