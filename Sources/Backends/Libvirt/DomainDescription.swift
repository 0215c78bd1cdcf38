import Abstractions

/// The few things that have to be read back from a domain's XML as libvirt writes it: attributes in single quotes.
struct DomainDescription {
    private let text: String

    init(_ text: String) { self.text = text }

    /// A disk that is a host file.
    struct Disk {
        var file: HostPath
        var format: ImageFormat
        /// Whether a snapshot of the machine holds it.
        var takesPart: Bool
    }

    /// Its disks that are host files, in order.
    var disks: [Disk] {
        elements("disk").compactMap { body in
            guard let file = attribute("file", of: "source", in: body) else { return nil }
            let head = body.prefix { $0 != ">" }
            let isLeftOut = head.range(of: "snapshot='no'") != nil || body.range(of: "<readonly") != nil
            return Disk(
                file: HostPath(file), format: ImageFormat(attribute("type", of: "driver", in: body) ?? "raw"),
                takesPart: !isLeftOut)
        }
    }

    /// The host file that receives the console.
    var consoleFile: HostPath? {
        let serial = elements("serial").first { $0.hasPrefix(" type='file'") }
            .flatMap { attribute("path", of: "source", in: $0) }
        if let serial { return HostPath(serial) }
        guard let mark = elements("anyvisor:console").first, let start = mark.firstIndex(of: ">") else { return nil }
        return HostPath(DomainDescription.unescape(mark[mark.index(after: start)...]))
    }

    /// Says in a domain's XML which file we write its console to, for a console that libvirt writes to no file.
    static func consoleMark(_ file: HostPath) -> XMLElement {
        XMLElement(
            "metadata", [],
            [XMLElement("anyvisor:console", [("xmlns:anyvisor", "urn:anyvisor:console")], text: file.string)])
    }

    /// The terminal on which a running domain's console is, when it is one.
    var consoleTerminal: HostPath? {
        let body = elements("console").first { $0.hasPrefix(" type='pty'") }
        return body.flatMap { attribute("path", of: "source", in: $0) }.map { HostPath($0) }
    }

    /// What stands between `<name` and `</name>`, for each element of that name.
    private func elements(_ name: String) -> [Substring] {
        var found: [Substring] = []
        var rest = text[...]
        while let start = rest.range(of: "<\(name)"), let end = rest[start.upperBound...].range(of: "</\(name)>") {
            let body = rest[start.upperBound..<end.lowerBound]
            if let next = body.first, next == " " || next == ">" { found.append(body) }
            rest = rest[end.upperBound...]
        }
        return found
    }

    private func attribute(_ attribute: String, of element: String, in body: Substring) -> String? {
        guard let tag = body.range(of: "<\(element) "),
            let end = body[tag.upperBound...].range(of: ">"),
            let start = body[tag.upperBound..<end.lowerBound].range(of: "\(attribute)='"),
            let close = body[start.upperBound..<end.lowerBound].firstIndex(of: "'")
        else { return nil }
        return DomainDescription.unescape(body[start.upperBound..<close])
    }

    static func unescape(_ text: Substring) -> String {
        var result = ""
        var rest = text
        while let start = rest.firstIndex(of: "&"), let end = rest[start...].firstIndex(of: ";") {
            result += rest[..<start]
            let name = rest[rest.index(after: start)..<end]
            switch name {
            case "amp": result += "&"
            case "lt": result += "<"
            case "gt": result += ">"
            case "apos": result += "'"
            case "quot": result += "\""
            default: if let scalar = scalar(name) { result.unicodeScalars.append(scalar) }
            }
            rest = rest[rest.index(after: end)...]
        }
        return result + rest
    }

    private static func scalar(_ reference: Substring) -> Unicode.Scalar? {
        guard reference.first == "#" else { return nil }
        let digits = reference.dropFirst()
        let value = digits.first == "x" ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits)
        return value.flatMap { Unicode.Scalar($0) }
    }
}

extension Substring {
    /// The first place of a text by its scalars; without Foundation.
    fileprivate func range(of needle: String) -> Range<Index>? {
        let needle = Array(needle.utf8)
        let hay = utf8
        guard let first = needle.first else { return nil }
        var start = hay.startIndex
        while let hit = hay[start...].firstIndex(of: first) {
            if hay[hit...].starts(with: needle),
                let end = hay.index(hit, offsetBy: needle.count, limitedBy: hay.endIndex)
            {
                return hit..<end
            }
            start = hay.index(after: hit)
        }
        return nil
    }
}
