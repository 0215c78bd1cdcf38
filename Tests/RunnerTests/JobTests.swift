import Abstractions
import Host
import Synchronization
import Testing

@testable import Runner

@Suite("A job")
struct JobTests {
    @Test("lies in the folder as the guest reads it")
    func layout() async throws {
        let folder = try TestFolder()
        let input = try folder.write("data.csv", "1,2\n")
        var first = TaskSpec(id: "install", run: "pip install six", artifacts: ["/tmp/out/*"])
        first.timeout = .milliseconds(1500)
        first.memory = .mib(1)
        first.environment = ["A": "it's", "B": "two\nlines"]
        let recipe = try recipe(folder, [first, TaskSpec(id: "import", run: "x", needs: ["install"])])
        let job = try await JobFolder.write(
            named: recipe.name, recipe.tasks, attempt: "r", inputs: [input], to: folder.path.appending("io"))
        func text(_ name: String) throws -> String { try HostFiles.readText(job.path.appending("job/\(name)")) }
        #expect(job.taskFolders == ["001-install", "002-import"])
        #expect(try text("token") == job.token + "\n")
        #expect(try text("inputs/data.csv") == "1,2\n")
        #expect(try text("tasks/001-install/run.sh") == "pip install six\n")
        #expect(try text("tasks/001-install/limits") == "timeout=2\nmemory=1048576\n")
        #expect(try text("tasks/001-install/env") == "A='it'\\''s'\nB='two\nlines'\n")
        #expect(try text("tasks/001-install/artifacts") == "/tmp/out/*\n")
        #expect(try text("tasks/002-import/needs") == "install\n")
        #expect(!HostFiles.exists(job.path.appending("job/tasks/002-import/limits")))
        #expect(HostFiles.names(in: job.path.appending("results")).sorted() == job.taskFolders)
        #expect(!(try text("manifest.json").contains(job.token)))
        #expect(job.size > 0)
    }

    @Test("with two inputs of one name is refused")
    func sameName() async throws {
        let folder = try TestFolder()
        let inputs = [try folder.write("a/x", "1"), try folder.write("b/x", "2")]
        let recipe = try recipe(folder, [TaskSpec(id: "a", run: "x")])
        let error = await #expect(throws: BackendError.self) {
            try await JobFolder.write(
                named: recipe.name, recipe.tasks, attempt: "r", inputs: inputs, to: folder.path.appending("job"))
        }
        #expect(error?.message == "two inputs are called 'x'")
    }

    @Test("of a thousand tasks has numbers of one width")
    func width() {
        let names = JobFolder.names((1...1000).map { TaskSpec(id: "t\($0)", run: "x") })
        #expect(names.first == "0001-t1")
        #expect(names == names.sorted())
    }

    private func recipe(_ folder: TestFolder, _ tasks: [TaskSpec]) throws -> Recipe {
        var recipe = try Recipe(
            file: try folder.write("r.yaml", "image: tiny\ntasks: [{id: a, run: x}]\n"))
        recipe.tasks = tasks
        return recipe
    }
}

@Suite("The console")
struct ConsoleTests {
    @Test("tells of the agent's marks anywhere in a line, in pieces, and of nobody else's")
    func marks() {
        var parser = MarkParser(token: "T1")
        let text = """
            [    1.0] kernel @anyvisor:T1:ready\r
            @anyvisor:T2:done
            @anyvisor:T1:task-start 001 install
            noise @anyvisor:T1:task-end 001 install killed -
            @anyvisor:T1:task-end 002 import failure 3
            @anyvisor:-:error no IO disk
            @anyvisor:-:done
            @anyvisor:T1:done

            """
        var found: [ConsoleMark] = []
        for byte in text.utf8 { found += parser.feed([byte]) }
        #expect(
            found == [
                .ready, .taskStart(id: "install"), .taskEnd(id: "install", status: "killed", exit: nil),
                .taskEnd(id: "import", status: "failure", exit: 3), .error("no IO disk"), .done,
            ])
    }

    @Test("tells that a warm machine waits, which no token can stand for")
    func warm() {
        var parser = MarkParser(token: "T")
        #expect(parser.feed(Array("@anyvisor:T:warm\n@anyvisor:-:warm\n".utf8)) == [.warm])
    }

    @Test("with an endless line costs no endless memory, and the next line counts again")
    func endless() {
        var parser = MarkParser(token: "T")
        #expect(parser.feed([UInt8](repeating: 0x61, count: 1 << 20)).isEmpty)
        #expect(parser.feed(Array("\n@anyvisor:T:ready\n".utf8)) == [.ready])
    }
}

@Suite("A deadline")
struct AbandoningTests {
    @Test("leaves a stuck call behind")
    func stuck() async {
        let late = BackendError(.timeout, "test", "late")
        let stuck = Mutex<CheckedContinuation<Void, Never>?>(nil)
        let error = await #expect(throws: BackendError.self) {
            try await abandoning(at: .now - .seconds(1), late) {
                // Never answers, and does not hear that it is cancelled.
                await withCheckedContinuation { continuation in stuck.withLock { $0 = continuation } }
            }
        }
        #expect(error == late)
        stuck.withLock { $0 }?.resume()
    }

    @Test("hands on what the call says, and its deadline to the call")
    func answer() async throws {
        let deadline = ContinuousClock.now + .seconds(100)
        let seen = try await abandoning(at: deadline, BackendError(.timeout, "test", "late")) { CallDeadline.current }
        #expect(seen == deadline)
    }
}
