import Abstractions
import Host
import Testing

@testable import Runner

@Suite("Two results compared")
struct ComparisonTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    /// A result folder with one task.
    private func result(
        _ name: String, masks: [String] = [], sha: String = "1", status: TaskStatus = .success, exit: Int32? = 0,
        stdout: String = "all is well\n", artifacts: [String: [UInt8]] = ["tmp/a": [1, 2, 0]]
    ) throws -> HostPath {
        let task = TaskResult(
            number: 1, id: "one", status: status, reasons: [], exit: exit, folder: "tasks/001-one",
            artifactFiles: artifacts.count)
        let result = RunResult(
            name: "x", attempt: name, status: .passed, exitCode: 0, simulated: false, startedMs: 1, ms: 1,
            recipe: .init(file: "x.yaml", sha256: sha, masks: masks), disk: [:], rejections: [], phases: [],
            tasks: [task], guest: [:], inputs: [], notes: [], refused: 0, host: [:])
        _ = try folder.write("\(name)/result.json", try result.json())
        _ = try folder.write("\(name)/tasks/001-one/stdout", stdout)
        for (path, bytes) in artifacts {
            let file = folder.path.appending("\(name)/tasks/001-one/artifacts/\(path)")
            try HostFiles.makeDirectories(file.parent)
            try HostFiles.write(bytes, to: file)
        }
        return folder.path.appending(name)
    }

    private func differences(_ one: HostPath, _ two: HostPath) throws -> [RunComparison.Difference] {
        try RunComparison(one, two).differences()
    }

    @Test("equal runs are equal, whatever backends did them")
    func equal() throws {
        #expect(try differences(result("a"), result("b")) == [])
    }

    @Test("status, exit code, a line of output and artifacts differ by name and place")
    func unequal() throws {
        let one = try result("a", stdout: "x\nsame\n", artifacts: ["tmp/a": [1, 0], "tmp/only": [1]])
        let two = try result(
            "b", sha: "2", status: .failure, exit: 3, stdout: "x\nother\n", artifacts: ["tmp/a": [2, 0, 3]])
        let found = try differences(one, two)
        #expect(found.map(\.what) == ["recipe", "status", "exit", "stdout", "artifacts/tmp/a", "artifacts/tmp/only"])
        #expect(found[3].line == 2 && found[3].first == "same" && found[3].second == "other")
        #expect(found[4].first == "2 bytes" && found[5].second == "missing")
    }

    @Test("only what the masks match is overlooked, in output and in artifacts that are text")
    func masks() throws {
        let masks = ["[0-9.]+ ms"]
        func run(_ name: String, _ text: String) throws -> HostPath {
            try result(name, masks: masks, stdout: text, artifacts: ["log": Array(text.utf8)])
        }
        let one = try run("a", "took 12 ms\n")
        #expect(try differences(one, run("b", "took 7.5 ms\n")) == [])
        let found = try differences(one, run("c", "took 7.5 ms!\n"))
        #expect(found.map(\.what) == ["stdout", "artifacts/log"])
        #expect(try differences(result("d", stdout: "1 ms"), result("e", stdout: "2 ms")).count == 1)
        #expect(try differences(one, run("f", "took 12 ms\nand more\n")).first?.line == 2)
    }

    @Test("a folder without a result is told by name")
    func missing() throws {
        let one = try result("a")
        #expect {
            try differences(one, folder.path)
        } throws: {
            ($0 as? BackendError)?.code == .notFound
        }
    }

    @Test("a mask that is no regular expression is refused with its line")
    func badMask() throws {
        let recipe = try folder.write(
            "r.yaml", "name: x\nimage: tiny\nmasks: ['a+', '(']\ntasks:\n  - id: a\n    run: 'true'\n")
        #expect {
            _ = try Recipe(file: recipe)
        } throws: {
            let problems = ($0 as? Problems).map { "\($0)" } ?? ""
            return problems.contains("mask '('") && problems.contains(":3:")
        }
    }
}
