import Abstractions
import Host
import Testing

/// The Swift blocks of the documentation, as they stand there.
struct DocumentedCode: Sendable, CustomTestStringConvertible {
    let file: String
    let number: Int
    let text: String

    var testDescription: String { "\(file), block \(number)" }
    /// What kind of program it is.
    var isManifest: Bool { text.hasPrefix("// swift-tools-version:") }
    var isPlugin: Bool { text.contains("PluginServer.serve") }
    var isMachine: Bool { text.contains("VirtualMachine(") }
    var isProgram: Bool { text.contains("import AnyvisorKit") && !isMachine }

    /// All blocks of the README and of `docs/`.
    static let all: [DocumentedCode] = {
        let root = KitBench.repository
        let pages = HostFiles.names(in: root.appending("docs")).filter { $0.hasSuffix(".md") }.map { "docs/\($0)" }
        return (["README.md", "CONTRIBUTING.md"] + pages).flatMap { blocks(in: $0, root) }
    }()

    private static func blocks(in file: String, _ root: HostPath) -> [DocumentedCode] {
        guard let text = try? HostFiles.readText(root.appending(file)) else { return [] }
        var blocks: [DocumentedCode] = []
        var lines: [Substring]?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```"), let body = lines {
                blocks.append(DocumentedCode(file: file, number: blocks.count + 1, text: body.joined(separator: "\n")))
                lines = nil
            } else if line == "```swift" {
                lines = []
            } else {
                lines?.append(line)
            }
        }
        return blocks
    }

    /// Compiles it against the modules of the test build and links it with their objects.
    ///
    /// - Returns: the program, in a folder that has nothing of ours beside it.
    func compiled(in bench: KitBench) async throws -> HostPath {
        let source = try bench.write("program/main.swift", text + "\n")
        let program = bench.folder.appending("program/snippet")
        let maps = ["CHost", "Backends/C/CNBD", "Backends/C/CExt2fs"].flatMap { folder in
            ["-Xcc", "-fmodule-map-file=\(KitBench.repository.appending("Sources/\(folder)/module.modulemap"))"]
        }
        let modules = [
            "Abstractions", "Host", "BackendSupport", "Filters", "PluginKit", "VirtualDisk", "AnyvisorKit",
            "DirectBackend",
        ]
        let objects = modules.flatMap { module in
            let folder = bench.programs.appending("\(module).build")
            return HostFiles.names(in: folder).filter { $0.hasSuffix(".o") }.map { folder.appending($0).string }
        }
        let outcome = try await bench.run(
            "swiftc",
            ["-swift-version", "6", "-warnings-as-errors", "-I", bench.programs.appending("Modules").string] + maps
                + [source.string] + objects + ["-lext2fs", "-lcom_err", "-o", program.string])
        try #require(outcome.exit == .exited(0), "\(outcome.errors)\(outcome.text)")
        return program
    }
}
