import Abstractions
import FoundationEssentials
import Host
import Runner
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// `anyvisor run` with several runs, on machines that are only played.
@Suite("Several runs in one command") final class SeveralRunsTests {
    private let program = HostEnvironment.executableFolder.appending("anyvisor").string
    private let folder: HostPath

    init() throws {
        var template = Array("/tmp/anyvisor-several-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw hostError("test", "no folder") }
        folder = HostPath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        try HostFiles.write([UInt8](repeating: 0, count: 1 << 20), to: folder.appending("disk.raw"))
        // Says in whose run its process is.
        let scripted = HostPath(#filePath).parent.parent.appending("Fixtures/scripted-guest")
        let guest = folder.appending("guest")
        try HostFiles.write(
            Array("#!/bin/sh\necho \"$ANYVISOR_RUN\" >> '\(folder)/guests'\nexec '\(scripted)' \"$@\"\n".utf8),
            to: guest)
        guard chmod(guest.string, 0o755) == 0 else { throw hostError("test", "no guest") }
    }

    deinit { try? HostFiles.removeTree(folder) }

    private func recipe(_ more: String, name: String = "job") throws -> String {
        let file = folder.appending("\(name).yaml")
        let text = """
            name: \(name)
            image: {path: disk.raw, format: raw}
            hypervisor: {prefer: [memory], options: {memory: {guest: \(folder)/guest}}}
            disk: [direct]
            results: {size: 4MiB}
            tasks: [{id: one, run: "true"}]
            \(more)

            """
        try HostFiles.write(Array(text.utf8), to: file)
        return file.string
    }

    private func run(_ arguments: [String]) async throws -> (status: Int32, output: String, errors: String) {
        var environment = HostEnvironment.all
        environment["ANYVISOR_STATE"] = folder.appending("state").string
        let outcome = try await Tool.run(program, arguments, environment: environment, folder: folder)
        guard case .exited(let status) = outcome.exit else { throw BackendError(.internal, "test", "\(outcome.exit)") }
        return (status, outcome.text, outcome.errors)
    }

    private func summary(_ report: String) throws -> BatchResult {
        let bytes = try HostFiles.read(folder.appending(report).appending("runs.json"))
        return try JSONDecoder().decode(BatchResult.self, from: Data(bytes))
    }

    @Test func `each has a folder, and processes in a run scope of its own`() async throws {
        let file = try recipe("matrix: {v: [\"1.0\", \"2.0\"], n: [1, 2]}")
        let answer = try await run(["run", file, "--jobs", "3", "--allow-simulated", "--report", "out"])
        #expect(answer.status == 0, "\(answer)")
        let names = ["job-1.0-1", "job-1.0-2", "job-2.0-1", "job-2.0-2"]
        #expect(HostFiles.names(in: folder.appending("out")) == names + ["runs.json"])
        let result = try summary("out")
        #expect(result.runs.map(\.name) == names && result.runs.map(\.folder) == names)
        #expect(result.runs.last?.matrix == ["v": "2.0", "n": "2"])
        #expect(result.totals == ["passed": 4] && result.exitCode == 0)
        let attempts = try names.map { name in
            let bytes = try HostFiles.read(folder.appending("out/\(name)/result.json"))
            return try JSONDecoder().decode(RunResult.self, from: Data(bytes)).attempt
        }
        let guests = try HostFiles.readText(folder.appending("guests")).split(separator: "\n").map(String.init)
        #expect(Set(attempts).count == 4)
        #expect(guests.sorted() == attempts.sorted())
        #expect(answer.output.contains("job-2.0-1  passed"))
        #expect(answer.errors.split(separator: "\n").count { $0.contains(" of 4)") } == 4)
        #expect(HostFiles.names(in: folder.appending("state/runs")).isEmpty)
    }

    @Test func `several recipes, repeated, pass and fail by themselves`() async throws {
        let good = try recipe("", name: "good")
        let huge = try recipe("machine: {memory: 1000TiB}", name: "huge")
        let answer = try await run(
            ["run", huge, good, "--repeat", "2", "--allow-simulated", "--report", "out", "--json"])
        #expect(answer.status == 16)
        let result = try summary("out")
        #expect(result.runs.map(\.name) == ["huge-001", "good-001", "huge-002", "good-002"])
        #expect(result.runs.map(\.status) == [.error, .passed, .error, .passed])
        #expect(result.runs.first?.why?.contains("lower machine.memory") == true)
        #expect(answer.output == (try HostFiles.readText(folder.appending("out/runs.json"))))
    }

    @Test func `a single run that does not fit the host's memory ends before anything is made`() async throws {
        let answer = try await run(
            ["run", try recipe("machine: {memory: 1000TiB}"), "--allow-simulated", "--report", "out"])
        #expect(answer.status == 16)
        #expect(
            answer.errors.contains("lower machine.memory") && answer.errors.contains("[unavailable, memory]"),
            "\(answer)")
        #expect(!HostFiles.exists(folder.appending("out")) && !HostFiles.exists(folder.appending("state")))
    }

    @Test func `a problem of one recipe is known before any run, with its place`() async throws {
        let good = try recipe("", name: "good")
        let bad = try recipe("matrix: {v: [1]}\ninputs: [{file: \"${{ matrix.w }}\"}]", name: "bad")
        let answer = try await run(["run", good, bad, "--allow-simulated", "--report", "out"])
        #expect(answer.status == 2)
        #expect(answer.errors == "\(bad):8:18: unknown reference 'matrix.w', did you mean 'matrix.v'?\n")
        #expect(!HostFiles.exists(folder.appending("out")) && !HostFiles.exists(folder.appending("state")))
    }

    @Test func `a result folder with content and limits that cannot be meant are usage errors`() async throws {
        let file = try recipe("matrix: {v: [1, 2]}")
        let taken = try await run(["run", file, "--report", "."])
        #expect(taken.status == 2 && taken.errors.contains("exists already"), "\(taken)")
        for limit in [["--jobs", "0"], ["--jobs", "257"], ["--repeat", "0"], ["--repeat", "10001"]] {
            let answer = try await run(["run", file] + limit)
            #expect(answer.status == 2 && answer.errors.contains("\(limit[0]) must be from 1 to"), "\(answer)")
        }
        #expect(!HostFiles.exists(folder.appending("guests")))
    }

    @Test func `validate says how many runs a matrix has`() async throws {
        let matrix = try recipe("matrix: {v: [1, 2, 3], n: [1, 2]}")
        #expect(try await run(["validate", matrix]).output == "OK, 6 runs\n")
        #expect(try await run(["validate", matrix, "--json"]).output.contains(#""runs" : 6"#))
        #expect(try await run(["validate", try recipe("")]).output == "OK\n")
    }
}
