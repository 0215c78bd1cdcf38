import Abstractions
import Host

/// Writes images of format `memory`: a JSON file with a tree, as `Sources/Backends/Memory/MemoryImageFile.swift` describes it.
///
/// Written apart from that backend on purpose, so that a mistake in its file format is not made twice.
enum MemoryImage {
    static func write(_ volumes: [String], to path: HostPath) throws {
        let text = "{\"format\":\"anyvisor-memory-1\",\"volumes\":[" + volumes.joined(separator: ",") + "]}"
        try HostFiles.write(Array(text.utf8), to: path)
    }

    static func volume(_ tree: FixtureTree, label: String, size: Int64, state: String = "clean") -> String {
        var numbers: [[UInt8]: Int] = [[]: 1]
        var children: [Int: [(String, Int)]] = [:]
        var kept: [(Int, FixtureTree.Entry)] = []
        for entry in tree.entries {
            let key = Array(entry.path.rawValue.utf8)
            let parent = entry.path.parent == .root ? [] : Array(entry.path.parent.rawValue.utf8)
            let number = entry.hardLink.flatMap { numbers[Array($0.rawValue.utf8)] } ?? numbers.count + 1_000
            numbers[key] = number
            children[numbers[parent] ?? 1, default: []].append((entry.path.name, number))
            if entry.hardLink == nil { kept.append((number, entry)) }
        }
        var nodes = ["{\"id\":1,\"kind\":\"directory\",\"mode\":493,\"entries\":\(list(children[1] ?? []))}"]
        nodes += kept.map { number, entry in node(number, entry, children[number] ?? []) }
        return
            "{\"fileSystem\":\"memory\",\"label\":\(quoted(label)),\"size\":\(size),\"state\":\"\(state)\",\"nodes\":["
            + nodes.joined(separator: ",\n") + "]}"
    }

    static func emptyVolume(size: Int64) -> String { "{\"size\":\(size)}" }

    private static func node(_ number: Int, _ entry: FixtureTree.Entry, _ children: [(String, Int)]) -> String {
        var fields = [
            "\"id\":\(number)", "\"kind\":\"\(entry.kind.rawValue)\"", "\"mode\":\(entry.mode)", "\"uid\":\(entry.uid)",
            "\"gid\":\(entry.gid)", "\"mtime\":\(entry.modifiedSeconds * 1_000_000_000)",
        ]
        if let target = entry.target { fields.append("\"target\":\(quoted(target))") }
        if entry.kind == .directory { fields.append("\"entries\":\(list(children))") }
        if entry.kind == .file {
            let data = entry.content.map { "{\"at\":\($0.offset),\"bytes\":\"\(base64($0.bytes))\"}" }
            fields += ["\"size\":\(entry.size)", "\"data\":[\(data.joined(separator: ","))]"]
        }
        return "{" + fields.joined(separator: ",") + "}"
    }

    private static func list(_ children: [(String, Int)]) -> String {
        "[" + children.map { "{\"name\":\(quoted($0.0)),\"node\":\($0.1)}" }.joined(separator: ",") + "]"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case let control where control.value < 0x20:
                result += "\\u00" + (control.value < 16 ? "0" : "") + String(control.value, radix: 16)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let piece = bytes[start..<min(start + 3, bytes.count)]
            let word = piece.reduce(0) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - piece.count))
            for position in 0..<4 {
                let index = Int(word >> UInt32(18 - 6 * position)) & 63
                text.append(position <= piece.count ? alphabet[index] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
