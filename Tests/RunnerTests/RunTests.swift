import Abstractions
import DirectBackend
import Host
import MemoryBackend
import PluginKit
import Synchronization
import Testing

@testable import Runner

#if canImport(Glibc)
    import Glibc
#endif

@Suite("A run")
struct RunTests {
    private let folder: TestFolder

    init() throws {
        folder = try TestFolder()
        _ = try folder.write("image/image.json", #"{"name": "fake"}"#)
    }

    private func registry() throws -> BackendRegistry {
        var registry = BackendRegistry(knownNames: ["absent"])
        try registry.register(MemoryBackend.hypervisor)
        try registry.register(DirectBackend.descriptor)
        try registry.register(try PluginManifest(folder: TestFolder.fixtures.appending("zzz")).descriptor())
        return registry
    }

    private func recipe(_ hypervisor: String, options: String = "", more: String = "") throws -> Recipe {
        let guest = TestFolder.fixtures.appending("scripted-guest")
        return try Recipe(
            file: try folder.write(
                "run.yaml",
                """
                name: test
                image: fake
                hypervisor: {prefer: [\(hypervisor)], options: {\(hypervisor): {guest: \(guest)\(options)}}}
                disk: [direct]
                results: {size: 4MiB}
                deadlines: {boot: 30s, tasks: 30s}
                tasks:
                  - {id: one, run: "true"}
                  - {id: two, run: "true", needs: [one]}
                \(more)
                """))
    }

    private func run(
        _ recipe: Recipe, allowSimulated: Bool = true, hypervisors: [String] = [], pooled: Bool = false
    ) async throws -> (outcome: RunOutcome, events: [RunEvent]) {
        let (scope, lock) = try RunScope.make(in: folder.path.appending("state"))
        let image = folder.path.appending("image")
        let runner = Runner(
            registry: try registry(),
            images: ImageSource(names: { ["fake"] }, find: { _, _ in try GuestImage(folder: image) }),
            overlay: { _, _, _ in throw BackendError(.internal, "test", "no overlay was wanted") },
            configuration: Configuration(hypervisor: [], disk: []), cache: folder.path.appending("cache"))
        var options = RunOptions(report: folder.path.appending("report-\(scope.id)"))
        options.allowSimulated = allowSimulated
        options.hypervisors = hypervisors
        let events = Mutex<[RunEvent]>([])
        let pool = pooled ? WarmPool(runner, in: scope, limit: 1) : nil
        let outcome = await runner.run(recipe, options, in: scope, pool: pool) { event in
            events.withLock { $0.append(event) }
        }
        await pool?.close()
        try scope.remove()
        withExtendedLifetime(lock) {}
        return (outcome, events.withLock { $0 })
    }

    private func shape(_ events: [RunEvent]) -> [String] {
        events.filter { $0.kind != .progress && $0.kind != .note }.map {
            [$0.kind.rawValue, $0.phase, $0.task, $0.status].compactMap { $0 }.joined(separator: " ")
        }.filter { !$0.hasPrefix("phase-end boot") && !$0.hasPrefix("phase-start tasks") }
    }

    @Test("on a simulated machine brings results, says that they are simulated and passes only when that is allowed")
    func simulated() async throws {
        let (outcome, _) = try await run(try recipe("memory"))
        let result = try #require(outcome.result)
        #expect(result.error == nil)
        #expect(result.simulated)
        #expect(result.tasks.map(\.status) == [.success, .success])
        #expect(outcome.exitCode == 0)
        let report = try #require(outcome.report)
        #expect(try HostFiles.readText(report.appending("tasks/001-one/stdout")) == "scripted one\n")
        #expect(HostFiles.names(in: report) == ["console.log", "events.jsonl", "result.json", "tasks"])

        let strict = try await run(try recipe("memory"), allowSimulated: false).outcome
        #expect(strict.exitCode == 16)
        #expect(strict.result?.tasks.map(\.status) == [.success, .success])
    }

    @Test("that wants to start warm where no hypervisor can starts cold, and says why")
    func coldInstead() async throws {
        let (outcome, _) = try await run(try recipe("memory", more: "boot: warm"), pooled: true)
        #expect(outcome.exitCode == 0)
        #expect(outcome.result?.boot == "cold")
        #expect(outcome.result?.notes.contains { $0.contains("starts cold: hypervisor 'memory'") } == true)
    }

    @Test("on a hypervisor that nobody knows, in a process and in Python, has the same events")
    func unknownHypervisor() async throws {
        let known = try await run(try recipe("memory"))
        let unknown = try await run(try recipe("zzz"), allowSimulated: false)
        #expect(unknown.outcome.error == nil)
        #expect(unknown.outcome.exitCode == 0)
        #expect(unknown.outcome.result?.simulated == false)
        #expect(shape(unknown.events) == shape(known.events))
        #expect(shape(known.events).contains("task-end two success"))
    }

    @Test("goes on with the next hypervisor when one dies before the machine runs, and says so")
    func fallback() async throws {
        var recipe = try recipe("zzz", options: ", die: machine.start")
        recipe.hypervisor.prefer = ["absent", "zzz", "memory"]
        recipe.hypervisor.options["memory"] = ["guest": "\(TestFolder.fixtures)/scripted-guest"]
        let (outcome, _) = try await run(recipe)
        #expect(outcome.exitCode == 0)
        #expect(outcome.result?.hypervisor?.name == "memory")
        let rejections = outcome.result?.rejections ?? []
        #expect(rejections.map(\.backend) == ["absent", "zzz"])
        #expect(rejections.map(\.error.code) == [.unavailable, .crashed])
        #expect(rejections.map(\.during) == ["resolve", "boot"])
    }

    @Test("ends with the hypervisor's error when that dies while the machine runs")
    func death() async throws {
        let guest = try folder.write("guest", "#!/bin/sh\nexec sleep 600\n")
        #expect(chmod(guest.string, 0o755) == 0)
        var recipe = try recipe("zzz", options: ", die: running")
        recipe.hypervisor.options["zzz"]?["guest"] = guest.string
        let (outcome, events) = try await run(recipe)
        #expect(outcome.exitCode == 16)
        #expect(outcome.error?.code == .crashed)
        #expect(outcome.result?.tasks.map(\.status) == [.missing, .missing])
        #expect(events.last?.kind == .runEnd)
    }

    @Test("whose guest never powers off is ended by the host, and its tasks stand")
    func lingering() async throws {
        let scripted = TestFolder.fixtures.appending("scripted-guest")
        let guest = try folder.write("guest", "#!/bin/sh\n'\(scripted)' \"$@\"\nexec sleep 600\n")
        #expect(chmod(guest.string, 0o755) == 0)
        var recipe = try recipe("zzz")
        recipe.hypervisor.options["zzz"]?["guest"] = guest.string
        recipe.deadlines[.powerOff] = .milliseconds(300)
        let (outcome, events) = try await run(recipe)
        #expect(outcome.exitCode == 0)
        #expect(events.contains { $0.kind == .machineEnd && $0.status == "lingering" })
        #expect(outcome.result?.notes.count == 1)
    }

    @Test("whose machine ends as a task begins says so, though nothing of it is on the disk")
    func cutShort() async throws {
        let guest = try folder.write(
            "guest",
            """
            #!/bin/sh
            for disk; do :; done
            token=$(PATH=$PATH:/usr/sbin:/sbin debugfs -R 'cat /job/token' "$disk" 2>/dev/null)
            printf '@anyvisor:%s:%s\\n' "$token" ready "$token" 'task-start 001 one'
            """)
        #expect(chmod(guest.string, 0o755) == 0)
        var recipe = try recipe("zzz")
        recipe.hypervisor.options["zzz"]?["guest"] = guest.string
        let (outcome, _) = try await run(recipe)
        #expect(outcome.exitCode == 1)
        #expect(outcome.result?.tasks.map(\.status) == [.killed, .missing])
        #expect(outcome.result?.tasks.first?.reasons == ["the machine ended as the task began"])
    }

    @Test("whose guest never comes up ends at the boot deadline")
    func silent() async throws {
        let guest = try folder.write("guest", "#!/bin/sh\necho BIOS\nexec sleep 600\n")
        #expect(chmod(guest.string, 0o755) == 0)
        var recipe = try recipe("zzz")
        recipe.hypervisor.options["zzz"]?["guest"] = guest.string
        recipe.deadlines[.boot] = .milliseconds(300)
        let (outcome, _) = try await run(recipe)
        #expect(outcome.exitCode == 16)
        #expect(outcome.error?.code == .timeout)
        #expect(outcome.error?.blame == .guest)
        #expect(outcome.error?.evidence["console"] == "BIOS\n")
    }

    @Test("whose report folder is not empty is refused, and nothing is made")
    func report() async throws {
        let (scope, lock) = try RunScope.make(in: folder.path.appending("state"))
        defer { withExtendedLifetime(lock) {} }
        let full = try folder.write("full/file", "x").parent
        let runner = Runner(
            registry: try registry(), images: ImageSource(names: { [] }, find: { _, _ in throw CancellationError() }),
            overlay: { base, _, _ in base }, configuration: Configuration(hypervisor: [], disk: []))
        let outcome = await runner.run(try recipe("memory"), RunOptions(report: full), in: scope)
        #expect(outcome.exitCode == 2)
        #expect(outcome.error?.message.contains("exists already") == true)
        #expect(HostFiles.names(in: full) == ["file"])
        try scope.remove()
    }

    @Test("that is cancelled ends as interrupted and leaves nothing")
    func cancelled() async throws {
        let recipe = try recipe("memory")
        let task = Task { try await run(recipe) }
        task.cancel()
        let outcome = try await task.value.outcome
        #expect(outcome.exitCode == 130)
        #expect(outcome.result?.status == .interrupted)
        #expect(HostFiles.names(in: folder.path.appending("state/runs")).isEmpty)
    }
}
