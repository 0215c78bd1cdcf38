import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// What a run is about to make, written down and durable before it is made.
///
/// One JSON object a line in `journal.jsonl`; every process of a run appends to the same file (`ANYVISOR_JOURNAL`), each record
/// in one write of less than 4 KiB, so records of several processes never mix. What lies inside the run's own folders needs no
/// record: `reap` removes those folders whole.
public struct Journal: Sendable {
    /// The journal's file.
    public let path: HostPath

    /// Opens nothing; the file is made by the first record.
    public init(_ path: HostPath) { self.path = path }

    /// Something that `reap` has to undo.
    public enum Record: Sendable, Hashable {
        /// A phase of a run begins; nothing to undo, but a moment for the kill tests.
        case phase(String)
        /// A file or folder outside the run's folders.
        case path(HostPath)
        /// A process that carries the run's mark in its environment or command line.
        case process(String)
        /// A domain of a hypervisor that outlives its process.
        case domain(uri: String, name: String)
        /// A mount outside the run's folders.
        case mount(HostPath)
        /// A disk image that may get a redo log.
        case redo(DiskImage)
    }

    /// Writes a record and makes it durable; afterwards the resource may be made.
    ///
    /// - Throws: what the host says; the resource must then not be made.
    public func append(_ record: Record) throws {
        let descriptor = open(path.string, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw hostError("journal", "cannot open journal \(path)") }
        defer { Glibc.close(descriptor) }
        let line = Array((record.line + "\n").utf8)
        let count = line.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, line.count) }
        guard count == line.count else { throw hostError("journal", "cannot write journal \(path)") }
        guard fdatasync(descriptor) == 0 else { throw hostError("journal", "cannot sync journal \(path)") }
        HoldPoint.reached(record.kind, path.parent)
    }

    /// All whole records; a torn last line is left out.
    public func records() throws -> [Record] {
        guard HostFiles.exists(path) else { return [] }
        return try HostFiles.readText(path).split(separator: "\n").compactMap { Record(line: $0) }
    }
}

extension Journal.Record {
    /// The record's kind as it stands in the file and in `ANYVISOR_HOLD`.
    public var kind: String {
        switch self {
        case .phase: "phase"
        case .path: "path"
        case .process: "process"
        case .domain: "domain"
        case .mount: "mount"
        case .redo: "redo"
        }
    }

    private var fields: [(String, String)] {
        switch self {
        case .phase(let name): [("name", name)]
        case .path(let path), .mount(let path): [("path", path.string)]
        case .process(let name): [("name", name)]
        case .domain(let uri, let name): [("uri", uri), ("name", name)]
        case .redo(let image): [("path", image.path.string), ("format", image.format.rawValue)]
        }
    }

    var line: String {
        let pairs = [("kind", kind)] + fields
        return "{" + pairs.map { "\(quoted($0.0)):\(quoted($0.1))" }.joined(separator: ",") + "}"
    }

    init?(line: Substring) {
        guard let fields = parseFlatObject(line), let kind = fields["kind"] else { return nil }
        switch (kind, fields["path"], fields["name"]) {
        case ("phase", _, let name?): self = .phase(name)
        case ("path", let path?, _): self = .path(HostPath(path))
        case ("mount", let path?, _): self = .mount(HostPath(path))
        case ("process", _, let name?): self = .process(name)
        case ("domain", _, let name?): self = .domain(uri: fields["uri"] ?? "", name: name)
        case ("redo", let path?, _):
            self = .redo(DiskImage(path: HostPath(path), format: ImageFormat(fields["format"] ?? "raw")))
        default: return nil
        }
    }
}

private func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case let control where control.value < 0x20:
            let hex = String(control.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

/// Parses `{"key":"value",…}` with string values only; nil for anything else, so that a torn line is dropped.
private func parseFlatObject(_ line: Substring) -> [String: String]? {
    var rest = line.unicodeScalars[...]
    func take(_ expected: Unicode.Scalar) -> Bool {
        guard rest.first == expected else { return false }
        rest.removeFirst()
        return true
    }
    func string() -> String? {
        guard take("\"") else { return nil }
        var text = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
            if scalar == "\"" { return String(text) }
            guard scalar == "\\" else {
                text.append(scalar)
                continue
            }
            guard let escaped = rest.popFirst() else { return nil }
            if escaped == "u" {
                guard let value = UInt32(String(String.UnicodeScalarView(rest.prefix(4))), radix: 16),
                    let decoded = Unicode.Scalar(value), rest.count >= 4
                else { return nil }
                rest.removeFirst(4)
                text.append(decoded)
            } else {
                text.append(escaped)
            }
        }
        return nil
    }
    var fields: [String: String] = [:]
    guard take("{") else { return nil }
    repeat {
        guard let key = string(), take(":"), let value = string() else { return nil }
        fields[key] = value
    } while take(",")
    return take("}") && rest.isEmpty ? fields : nil
}
