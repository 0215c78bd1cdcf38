import Abstractions

/// The text that describes a VMDK, a file of its own or inside the one sparse file (VMware, Virtual Disk Format 5.0).
///
/// ```
/// CID=343603ce                       changes when the content does
/// parentCID=ffffffff                 the parent's CID when the delta was made; ffffffff: none
/// createType="twoGbMaxExtentSparse"
/// parentFileNameHint="base.vmdk"
/// RW 4192256 SPARSE "disk-s001.vmdk"
/// RW 16384 FLAT "flat-flat.vmdk" 0
/// ddb.uuid.image="…"  ddb.uuid.parent="…"     how VirtualBox links deltas, with parentCID=ffffffff
/// ```
struct VMDKDescriptor {
    /// A file with a part of the disk.
    struct Extent: Hashable {
        var sectors: Int64
        var type: String
        var file: String
        /// Where the part begins in a flat file, in sectors.
        var offset: Int64
        var isReadOnly = false
    }

    private(set) var values: [String: String] = [:]
    private(set) var extents: [Extent] = []

    static let longest = 1 << 20

    /// Parses the text; what QEMU might read otherwise than this is refused.
    ///
    /// - Throws: `corrupt` with the line.
    init(_ bytes: [UInt8], of path: HostPath) throws {
        let text = bytes.prefix { $0 != 0 }
        var number = 0
        for raw in text.split(separator: 10, omittingEmptySubsequences: false) {
            number += 1
            let line = String(decoding: raw.last == 13 ? raw.dropLast() : raw, as: UTF8.self)
            let words = line.drop { $0 == " " || $0 == "\t" }
            if words.isEmpty || words.first == "#" { continue }
            if let equals = words.firstIndex(of: "="), !words[..<equals].contains("\"") {
                let key = words[..<equals].trimmed.lowercased()
                let value = words[words.index(after: equals)...].trimmed
                values[key] = values[key] ?? value.filter { $0 != "\"" }
                continue
            }
            // VirtualBox says so of the stream-optimised images that it makes; QEMU would pass over such a part of others.
            guard let extent = Extent(words), !extent.isReadOnly || type == "streamOptimized" else {
                throw BackendError(
                    .corrupt, "disk.open",
                    "\(path) is no sound VMDK: line \(number) of its descriptor is not understood",
                    blame: .disk)
            }
            extents.append(extent)
        }
        guard values["createtype"] != nil, extents.count <= 4096 else {
            throw BackendError(.corrupt, "disk.open", "\(path) is no sound VMDK: it has no createType", blame: .disk)
        }
    }

    /// How the image is made up: `monolithicSparse`, `streamOptimized` ….
    var type: String { values["createtype"] ?? "" }
    /// What names its content.
    var contentID: String? { values["cid"]?.lowercased() }
    /// What its parent must have for a CID; nil without such a link.
    var parentContentID: String? {
        guard let id = values["parentcid"]?.lowercased(), id != "ffffffff" else { return nil }
        return id
    }
    /// VirtualBox's names for the image and its parent.
    var uuid: String? { VMDKDescriptor.uuid(values["ddb.uuid.image"]) }
    var parentUUID: String? { VMDKDescriptor.uuid(values["ddb.uuid.parent"]) }
    /// Where the parent was when the delta was made.
    var parentHint: String? { values["parentfilenamehint"] }
    var hasParent: Bool { parentContentID != nil || parentUUID != nil }

    private static func uuid(_ text: String?) -> String? {
        guard let text = text?.lowercased(), text.contains(where: { $0 != "0" && $0 != "-" }) else { return nil }
        return text
    }
}

extension VMDKDescriptor.Extent {
    /// `RW sectors type "file" [offset]` with single words; nil for anything else, access other than RW and RDONLY too.
    fileprivate init?(_ line: Substring) {
        let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
        let words = parts.first?.split(separator: " ") ?? []
        guard !line.contains("\r"), parts.count == 3, words.count == 3, ["RW", "RDONLY"].contains(words[0]),
            let sectors = Int64(words[1]),
            sectors > 0,
            sectors < 1 << 52
        else { return nil }
        let rest = parts[2].split(separator: " ")
        guard rest.count <= 1, let offset = rest.isEmpty ? 0 : Int64(rest[0]), offset >= 0, offset < 1 << 52 else {
            return nil
        }
        self.init(
            sectors: sectors, type: String(words[2]), file: String(parts[1]), offset: offset,
            isReadOnly: words[0] == "RDONLY")
    }
}

extension Substring {
    fileprivate var trimmed: String {
        var text = drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }
}
