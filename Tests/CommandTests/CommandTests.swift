import Abstractions
import Host
import Testing

/// The built program, as a user calls it.
@Suite struct CommandTests {
    private let program = HostEnvironment.executableFolder.appending("anyvisor").string

    private func run(_ arguments: String...) async throws -> (status: Int32, output: String, errors: String) {
        let outcome = try await Tool.run(program, arguments)
        guard case .exited(let status) = outcome.exit else {
            Issue.record("anyvisor ended with \(outcome.exit)")
            return (-1, outcome.text, outcome.errors)
        }
        return (status, outcome.text, outcome.errors)
    }

    private static let verbs = [
        ["run"], ["validate"], ["doctor"], ["backends"], ["reap"], ["conformance"],
        ["disk", "info"], ["disk", "ls"], ["disk", "cat"], ["disk", "get"], ["disk", "put"], ["disk", "mkdir"],
        ["disk", "rm"],
        ["disk", "check"], ["disk", "create"], ["disk", "export"], ["disk", "import"],
        ["mount"], ["unmount"],
        ["vm", "list"], ["vm", "create"], ["vm", "start"], ["vm", "stop"], ["vm", "state"], ["vm", "console"],
        ["vm", "destroy"],
        ["image", "list"], ["image", "build"], ["image", "remove"],
        ["plugin", "list"], ["plugin", "describe"], ["plugin", "check"],
    ]

    @Test(arguments: verbs) func `help of every verb shows an example`(_ verb: [String]) async throws {
        let outcome = try await Tool.run(program, verb + ["--help"])
        #expect(outcome.exit == .exited(0))
        #expect(outcome.text.contains("Example: anyvisor \(verb.joined(separator: " "))"))
    }

    @Test func `an unknown verb is a usage error on standard error`() async throws {
        let answer = try await run("disk", "sl")
        #expect(answer.status == 2)
        #expect(answer.output.isEmpty)
        #expect(answer.errors.contains("Usage"))
    }

    @Test func `a missing image is named, with status 2`() async throws {
        let answer = try await run("disk", "ls", "/nonexistent/image.vdi")
        #expect(answer.status == 2)
        #expect(answer.errors.contains("/nonexistent/image.vdi"))
    }

    @Test func `an unknown backend comes with the nearest known name`() async throws {
        let file = HostPath("/tmp/anyvisor-command-test-\(ProcessIdentity(pid: 1)?.startTicks ?? 0).raw")
        try HostFiles.write([UInt8](repeating: 0, count: 1 << 20), to: file)
        defer { try? HostFiles.removeTree(file) }
        let answer = try await run("disk", "ls", file.string, "--disk", "dircet")
        #expect(answer.status == 2)
        #expect(answer.errors.contains("did you mean 'direct'"))
    }

    @Test func `layers are made, shown as a tree, and read by --layer`() async throws {
        let folder = HostPath("/tmp/anyvisor-layer-test-\(ProcessIdentity(pid: 1)?.startTicks ?? 0)")
        try HostFiles.makeDirectories(folder.appending("Snapshots"))
        defer { try? HostFiles.removeTree(folder) }
        let (base, layer) = (folder.appending("base.vdi"), folder.appending("Snapshots/one.vdi"))
        let word = folder.appending("word")
        #expect(try await run("disk", "create", base.string, "--size", "8MiB", "--filesystem", "ext4").status == 0)
        #expect(try await run("disk", "create", layer.string, "--parent", base.string).status == 0)
        try HostFiles.write(Array("upper".utf8), to: word)
        #expect(try await run("disk", "put", layer.string, word.string, "/word", "--disk", "direct").status == 0)
        let info = try await run("disk", "info", base.string, "--disk", "direct")
        #expect(info.output.contains("base.vdi *") && info.output.contains("└─ Snapshots/one.vdi"), "\(info)")
        let cat = try await run("disk", "cat", base.string, "/word", "--layer", "one.vdi", "--disk", "direct")
        #expect(cat.output == "upper")
        #expect(try await run("disk", "cat", base.string, "/word", "--disk", "direct").status != 0)
        let refused = try await run("disk", "put", base.string, word.string, "/word", "--disk", "direct")
        #expect(refused.status == 2 && refused.errors.contains("Snapshots/one.vdi"), "\(refused)")
        let raw = folder.appending("one.raw")
        #expect(try await run("disk", "export", base.string, raw.string, "--layer", "one.vdi").status == 0)
        #expect(HostFiles.size(raw) == 8 << 20)
    }

    @Test func `the chain of a qcow2 image is shown as a tree`() async throws {
        let folder = HostPath("/tmp/anyvisor-chain-test-\(ProcessIdentity(pid: 1)?.startTicks ?? 0)")
        try HostFiles.makeDirectories(folder)
        defer { try? HostFiles.removeTree(folder) }
        let (base, top) = (folder.appending("base.qcow2"), folder.appending("top.qcow2"))
        #expect(try await run("disk", "create", base.string, "--size", "8MiB", "--filesystem", "ext4").status == 0)
        #expect(try await run("disk", "create", top.string, "--parent", base.string).status == 0)
        let info = try await run("disk", "info", top.string, "--disk", "direct")
        #expect(info.output.contains("base.qcow2 ") && info.output.contains("└─ top.qcow2 *  qcow2"), "\(info)")
    }
}
