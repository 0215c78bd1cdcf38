import Abstractions

/// A disk on VirtualBox's list.
struct RegisteredMedium: Sendable, Hashable {
    /// What it is called by.
    var uuid: String
    /// The uuid of the disk below; nil for one that stands alone.
    var parent: String?
    /// Its file.
    var location: HostPath

    /// Reads `VBoxManage list hdds`: blocks of `Name: value`.
    static func list(_ text: String) -> [RegisteredMedium] {
        var found: [RegisteredMedium] = []
        var fields: [Substring: String] = [:]
        func end() {
            if let uuid = fields["UUID"], let location = fields["Location"] {
                let parent = fields["Parent UUID"].flatMap { $0 == "base" ? nil : $0 }
                found.append(RegisteredMedium(uuid: uuid, parent: parent, location: HostPath(location)))
            }
            fields = [:]
        }
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let name = line[..<colon]
            if name == "UUID" { end() }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            if fields[name] == nil { fields[name] = String(value) }
        }
        end()
        return found
    }

    /// Disks in the order in which they can be closed: what lies on top first.
    static func childrenFirst(_ media: [RegisteredMedium]) -> [RegisteredMedium] {
        var left = media
        var ordered: [RegisteredMedium] = []
        while !left.isEmpty {
            let parents = Set(left.compactMap(\.parent))
            let leaves = left.filter { !parents.contains($0.uuid) }
            if leaves.isEmpty { return ordered + left }
            ordered += leaves
            left.removeAll { leaves.contains($0) }
        }
        return ordered
    }
}
