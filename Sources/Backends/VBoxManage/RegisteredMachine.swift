import Abstractions

/// A machine on VirtualBox's list.
struct RegisteredMachine: Sendable, Hashable {
    /// Its name; VirtualBox lets two have the same.
    var id: MachineID
    /// What it is called by.
    var uuid: String

    /// Reads `VBoxManage list vms`: `"name" {uuid}` a line.
    static func list(_ text: String) -> [RegisteredMachine] {
        text.split(separator: "\n").compactMap { line in
            guard line.first == "\"", line.last == "}", let open = line.lastIndex(of: "{") else { return nil }
            let name = line[..<open].dropFirst()
            guard name.hasSuffix("\" ") else { return nil }
            let uuid = line[line.index(after: open)...].dropLast()
            return RegisteredMachine(id: MachineID(String(name.dropLast(2))), uuid: String(uuid))
        }
    }
}
