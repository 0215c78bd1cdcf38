import Abstractions
import Host

/// What `VBoxManage showvminfo --machinereadable` says of a machine.
///
/// ```
/// name="anyvisor-1"
/// memory=32
/// "IDE-0-0"="/images/base.vdi"
/// VMState="poweroff"
/// ```
struct MachineInfo: Sendable, Hashable {
    private let values: [String: String]
    private let keys: [String]

    init(_ text: String) {
        var values: [String: String] = [:]
        var keys: [String] = []
        for line in text.split(separator: "\n") {
            // The first of a name counts: a snapshot's description of several lines may look like anything.
            guard let (key, value) = MachineInfo.split(line), values[key] == nil else { continue }
            values[key] = value
            keys.append(key)
        }
        self.values = values
        self.keys = keys
    }

    init(_ values: [String: String]) {
        self.values = values
        keys = values.keys.sorted()
    }

    /// A value by its name.
    subscript(key: String) -> String? { values[key] }

    /// The word for its state, for example `poweroff`.
    var stateWord: String { values["VMState"] ?? "" }
    /// Its settings file.
    var settings: HostPath? { values["CfgFile"].map { HostPath($0) } }
    /// Whether a process or a command has it open.
    var isInSession: Bool { values["SessionName"].map { !$0.isEmpty } ?? false }
    /// The host file that receives the first serial port.
    var consoleFile: HostPath? {
        guard let mode = values["uartmode1"], mode.hasPrefix("file,") else { return nil }
        return HostPath(String(mode.dropFirst("file,".count)))
    }
    /// The last log of a run.
    var log: HostPath? { values["LogFldr"].map { HostPath($0).appending("VBox.log") } }

    /// The files that are in its drives.
    var media: [HostPath] {
        keys.filter { key in
            let parts = key.split(separator: "-")
            return parts.count == 3 && Int(parts[1]) != nil && Int(parts[2]) != nil
        }
        .compactMap { values[$0] }.filter { $0.hasPrefix("/") }.map { HostPath($0) }
    }

    /// Its snapshots, parents before their children.
    var snapshots: [SnapshotNode] {
        let prefix = "SnapshotName"
        return keys.filter { $0.hasPrefix(prefix) }.compactMap { key in
            let place = key.dropFirst(prefix.count)
            guard let name = values[key], let uuid = values["SnapshotUUID\(place)"] else { return nil }
            let above = place.lastIndex(of: "-").map { place[..<$0] }
            let parent = above.flatMap { values["SnapshotUUID\($0)"] }
            return SnapshotNode(
                name: SnapshotID(name), uuid: uuid, parent: parent, isCurrent: uuid == values["CurrentSnapshotUUID"],
                description: values["SnapshotDescription\(place)"])
        }
    }

    private static func split(_ line: Substring) -> (String, String)? {
        var rest = line
        let key: Substring
        if rest.first == "\"" {
            rest = rest.dropFirst()
            guard let end = rest.firstIndex(of: "\"") else { return nil }
            key = rest[..<end]
            rest = rest[rest.index(after: end)...]
            guard rest.first == "=" else { return nil }
        } else {
            guard let end = rest.firstIndex(of: "=") else { return nil }
            key = rest[..<end]
            rest = rest[end...]
        }
        rest = rest.dropFirst()
        guard rest.first == "\"", rest.last == "\"", rest.count > 1 else { return (String(key), String(rest)) }
        return (String(key), unescape(rest.dropFirst().dropLast()))
    }

    /// VirtualBox puts a backslash before quotes and backslashes.
    private static func unescape(_ text: Substring) -> String {
        var result = ""
        var isEscaped = false
        for character in text {
            if character == "\\", !isEscaped {
                isEscaped = true
                continue
            }
            isEscaped = false
            result.append(character)
        }
        return result
    }
}
