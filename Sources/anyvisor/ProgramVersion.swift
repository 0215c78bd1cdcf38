import Abstractions
import AnyvisorKit
import Host

/// Which anyvisor this is.
enum ProgramVersion {
    /// The released version.
    static let number = "0.1.0"

    /// The version, and the commit it was built from where that is known.
    static var text: String { ([number] + [commit].compactMap(\.self)).joined(separator: " ") }

    /// What `make install` wrote down, else the commit of the checkout that the program lies in.
    private static var commit: String? {
        guard let root = ResourceFolders.find("guest")?.parent else { return nil }
        if let noted = line(root.appending("COMMIT")) { return noted }
        guard let head = line(root.appending(".git/HEAD")) else { return nil }
        guard head.hasPrefix("ref: ") else { return head }
        let name = String(head.dropFirst(5))
        if let direct = line(root.appending(".git").appending(name)) { return direct }
        let packed = (try? HostFiles.readText(root.appending(".git/packed-refs"))) ?? ""
        return packed.split(separator: "\n").first { $0.hasSuffix(" \(name)") }.map { String($0.prefix(40)) }
    }

    private static func line(_ file: HostPath) -> String? {
        guard let text = try? HostFiles.readText(file, limit: 1 << 20) else { return nil }
        let line = text.prefix { !$0.isNewline }
        return line.isEmpty ? nil : String(line)
    }
}
