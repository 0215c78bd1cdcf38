/// A path on this host, as text.
///
/// Not `FilePath`: its coded form is not a string, and what stands on the wire must be readable by any language.
public struct HostPath: StringIdentifier {
    /// The path.
    public var rawValue: String
    /// Wraps a path as it is.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// The path, for C calls.
    public var string: String { rawValue }
    /// The path with one more component; `component` may itself have slashes.
    public func appending(_ component: String) -> HostPath {
        HostPath(rawValue: rawValue.utf8.last == slash ? rawValue + component : rawValue + "/" + component)
    }
    /// The last component, without a trailing slash; `/` for the root.
    public var name: String {
        parts(of: rawValue).last ?? "/"
    }
    /// The folder that holds it: `.` for a bare name, `/` for the root.
    public var parent: HostPath {
        let parts = parts(of: rawValue)
        guard parts.count > 1 else { return HostPath(rawValue: isAbsolute ? "/" : ".") }
        return HostPath(rawValue: (isAbsolute ? "/" : "") + parts.dropLast().joined(separator: "/"))
    }
    /// What follows the last dot of the name, lower case; empty when there is none.
    public var fileExtension: String {
        let name = name
        guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return "" }
        return name[name.index(after: dot)...].lowercased()
    }
    /// Whether it starts at the root.
    public var isAbsolute: Bool { rawValue.utf8.first == slash }
}

/// An absolute path inside a guest's file system. It is never followed on the host.
///
/// Names in a guest are bytes. A byte that is not part of valid UTF-8 stands as the code point U+10FF00 plus the byte,
/// so every name has one text and every text its bytes.
public struct GuestPath: StringIdentifier {
    /// The path: starts with `/`, has no empty, `.` or `..` component and no trailing slash, except `/` itself.
    public var rawValue: String

    /// Normalizes the text: `..` never climbs above the root.
    public init(rawValue: String) {
        var components: [String] = []
        for component in parts(of: rawValue) where component != "." {
            if component == ".." {
                _ = components.popLast()
            } else {
                components.append(component)
            }
        }
        self.rawValue = "/" + components.joined(separator: "/")
    }

    /// The root folder.
    public static let root: GuestPath = "/"
    /// The components from the root on; empty for the root.
    public var components: [String] { parts(of: rawValue) }
    /// The last component; `/` for the root.
    public var name: String { components.last ?? "/" }
    /// The folder that holds it; the root is its own parent.
    public var parent: GuestPath { GuestPath(rawValue: components.dropLast().joined(separator: "/")) }
    /// The path with one more component.
    public func appending(_ component: String) -> GuestPath { GuestPath(rawValue: rawValue + "/" + component) }

    /// The bytes of a name as the guest's file system holds them.
    public static func bytes(of name: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for scalar in name.unicodeScalars {
            if (0x10FF80...0x10FFFF).contains(scalar.value) {
                bytes.append(UInt8(scalar.value - 0x10FF00))
            } else {
                bytes.append(contentsOf: String(scalar).utf8)
            }
        }
        return bytes
    }

    /// The text of a name that the guest's file system holds as bytes.
    public static func name(of bytes: some Sequence<UInt8>) -> String {
        let bytes = Array(bytes)
        if let text = String(validating: bytes, as: UTF8.self),
            !text.unicodeScalars.contains(where: { (0x10FF80...0x10FFFF).contains($0.value) })
        {
            return text
        }
        var text = ""
        for byte in bytes {
            let value: UInt32 = byte < 0x80 ? UInt32(byte) : 0x10FF00 + UInt32(byte)
            if let scalar = Unicode.Scalar(value) { text.unicodeScalars.append(scalar) }
        }
        return text
    }
}

private let slash = UInt8(ascii: "/")

/// The components of a path by bytes: a slash in front of a combining mark is one `Character` with it, and still a slash.
private func parts(of path: String) -> [String] {
    path.utf8.split(separator: slash).map { String(Substring($0)) }
}
