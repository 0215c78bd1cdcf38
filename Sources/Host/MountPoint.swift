import Abstractions

/// One line of `/proc/self/mountinfo`, see proc(5).
public struct MountPoint: Sendable, Hashable {
    /// The folder where it is mounted.
    public let path: HostPath
    /// The kernel's name of the file system, for example `ext4` or `fuse.anyvisor`.
    public let type: String
    /// What is mounted: a device, or what a FUSE server calls itself.
    public let source: String

    /// Reads a line; nil for one that is not whole.
    init?(line: Substring) {
        let fields = line.split(separator: " ")
        guard fields.count > 6, let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 2 else {
            return nil
        }
        path = HostPath(MountPoint.unescaped(fields[4]))
        type = String(fields[dash + 1])
        source = MountPoint.unescaped(fields[dash + 2])
    }

    /// Whether a process serves it, so that every call may hang with that process.
    public var isServed: Bool { type == "fuse" || type.hasPrefix("fuse.") || type == "fuseblk" }

    /// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
    private static func unescaped(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == 0x5c, digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }) {
                bytes.append(digits.reduce(0) { $0 &* 8 &+ ($1 - 0x30) })
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
