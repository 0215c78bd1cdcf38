import Abstractions

/// A node of QEMU's block layer: a driver over one named file, with its backing file spelled out.
///
/// What an image says about other files never reaches QEMU: a driver that knows backing files is always told which, or none.
struct QEMUNode: Sendable, Hashable {
    var driver: String
    var file: HostPath
    /// What shows where the image has nothing; the driver is told `null` when there is none.
    var backing: [QEMUNode] = []
    /// Whether QEMU takes its locks.
    var locks = true

    /// The same for reading beside a writer.
    var unlocked: QEMUNode {
        var node = self
        (node.locks, node.backing) = (false, backing.map(\.unlocked))
        return node
    }

    private var knowsBacking: Bool { ["qcow2", "vmdk"].contains(driver) }

    /// The description for `json:` names and `--blockdev`; only the first node of a chain is ever written.
    func json(readOnly: Bool) -> String {
        var fields = [
            #""driver":\#(QEMUNode.quoted(driver)),"read-only":\#(readOnly)"#,
            #""file":{"driver":"file","locking":"\#(locks ? "on" : "off")","read-only":\#(readOnly),"filename":\#(QEMUNode.quoted(file.string))}"#,
        ]
        if knowsBacking { fields.append(#""backing":\#(backing.first?.json(readOnly: true) ?? "null")"#) }
        // QEMU computes a size from the geometry, which is short for images of VirtualBox.
        if driver == "vpc" { fields.append(#""force-size-calc":"current_size""#) }
        return "{" + fields.joined(separator: ",") + "}"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case let control where control.value < 0x20:
                let hex = String(control.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
