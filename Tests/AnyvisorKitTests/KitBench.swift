import Abstractions
import AnyvisorKit
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A folder with an image of one ext4 file system and a state folder of its own; nothing of either is left behind.
struct KitBench {
    let folder: HostPath
    var image: HostPath { folder.appending("machine.vdi") }
    var state: HostPath { folder.appending("state") }
    var programs: HostPath { HostEnvironment.executableFolder }
    static let repository = HostPath(#filePath).parent.parent.parent

    /// Makes the folder and the image, runs `body`, checks that no run left anything, and removes the folder.
    static func with(_ body: (KitBench) async throws -> Void) async throws {
        var template = Array("/tmp/anyvisor-kit-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw hostError("test", "no folder") }
        let path = HostPath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        let bench = KitBench(folder: path)
        defer { try? HostFiles.removeTree(path) }
        try await bench.anyvisor("disk", "create", bench.image.string, "--size", "32MiB", "--filesystem", "ext4")
        try await body(bench)
        #expect(HostFiles.names(in: bench.state.appending("runs")).isEmpty)
        let left = HostFiles.names(in: path).filter { $0.contains(".redo") || $0.hasPrefix(".anyvisor-part") }
        #expect(left.isEmpty)
    }

    /// The image, with this bench's state folder.
    func disk(backends: [String]? = nil, plugins: HostPath? = nil) -> DiskOperations {
        DiskOperations(image.string, backends: backends, plugins: plugins?.string, state: state.string)
    }

    /// Writes a file in the folder and says where.
    @discardableResult func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws -> HostPath {
        let file = folder.appending(name)
        try HostFiles.makeDirectories(file.parent)
        try HostFiles.write(Array(text.utf8), to: file, mode: mode)
        return file
    }

    /// A plugin that starts well, notes its number in `started` at the first call and never answers it.
    func muteDisk(_ name: String) throws {
        try write(
            "plugins/\(name)/plugin.sh",
            """
            #!/bin/sh
            echo '{"protocol":[1,1],"kind":"disk","name":"\(name)","version":"1","features":[]}'
            read -r line
            echo '{"jsonrpc":"2.0","id":1,"result":{}}'
            read -r line
            echo $$ >"$(dirname "$0")/started"
            while read -r line; do :; done

            """, mode: 0o755)
        try write("plugins/\(name)/plugin.json", #"{"name": "\#(name)", "kind": "disk", "program": "plugin.sh"}"#)
    }

    /// A manifest of this name for a program that lies in `plugins/NAME`, or beside the tests.
    func manifest(_ name: String, program: String) throws {
        try write("plugins/\(name)/plugin.json", #"{"name": "\#(name)", "kind": "disk", "program": "\#(program)"}"#)
    }

    /// What a program started from somewhere else finds: `anyvisor` in `PATH`, and this bench's state folder.
    var environment: [String: String] {
        HostEnvironment.all.merging([
            "PATH": "\(programs):\(HostEnvironment.variable("PATH") ?? "/usr/bin:/bin")",
            "ANYVISOR_STATE": state.string,
        ]) { $1 }
    }

    /// Runs a command in the folder.
    func run(_ program: String, _ arguments: [String]) async throws -> Tool.Outcome {
        try await Tool.run(
            program, arguments, environment: environment, folder: folder, deadline: .seconds(300))
    }

    /// Runs `anyvisor`, which must succeed, and says what it printed.
    @discardableResult func anyvisor(_ arguments: String...) async throws -> String {
        let outcome = try await run(programs.appending("anyvisor").string, arguments)
        try #require(outcome.exit == .exited(0), "\(outcome.errors)")
        return outcome.text
    }
}
