import Abstractions
import Host
import Synchronization
import Testing

@testable import Runner

@Suite("Several runs")
struct BatchTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    private func planned(_ memory: ByteCount...) throws -> [PlannedRun] {
        let recipe = try Recipe(file: try folder.write("r.yaml", "image: tiny\ntasks: [{id: a, run: x}]\n"))
        return memory.enumerated().map { index, memory in
            var recipe = recipe
            recipe.name = "\(index)"
            recipe.machine.memory = memory
            return PlannedRun(recipe: recipe)
        }
    }

    /// An outcome with a status and an exit code, and a result folder that nobody made.
    private func outcome(_ run: PlannedRun, _ status: RunResult.Status, _ exitCode: Int32) -> RunOutcome {
        let result = RunResult(
            name: run.name, attempt: "", status: status, exitCode: exitCode, simulated: false, error: nil, startedMs: 0,
            ms: 1, recipe: .init(file: "", sha256: nil, masks: nil), image: nil,
            hypervisor: .init(name: "fake", version: "1"), disk: [:], rejections: [], phases: [], tasks: [], guest: [:],
            inputs: [], notes: [], refused: 0, host: [:])
        return RunOutcome(result: result, exitCode: exitCode, report: "/r", error: nil)
    }

    private func batch(_ jobs: Int, _ mib: Int64 = 100_000) -> Batch {
        Batch(jobs: jobs, budget: MemoryBudget(.mib(mib)))
    }

    /// Which runs are there at the same time; each stays until the test lets it go.
    private actor Stage {
        private(set) var begun: [String] = []
        private var waiting: [String: CheckedContinuation<Void, Never>] = [:]
        private var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []

        func perform(_ name: String) async {
            await withCheckedContinuation { continuation in
                waiting[name] = continuation
                begun.append(name)
                while let index = watchers.firstIndex(where: { $0.count <= begun.count }) {
                    watchers.remove(at: index).continuation.resume()
                }
            }
        }

        func release(_ name: String) { waiting.removeValue(forKey: name)?.resume() }
        var present: [String] { waiting.keys.sorted() }

        /// Returns when so many have begun.
        func awaitBegun(_ count: Int) async {
            if begun.count >= count { return }
            await withCheckedContinuation { watchers.append((count, $0)) }
        }
    }

    @Test("are there at most as many at once as there are jobs, and all of them at last, in their order")
    func jobs() async throws {
        let stage = Stage()
        let runs = try planned(.mib(1), .mib(1), .mib(1), .mib(1))
        async let result = batch(2).run(runs) { run in
            await stage.perform(run.name)
            return outcome(run, .passed, 0)
        }
        await stage.awaitBegun(2)
        #expect(await stage.present == ["0", "1"])
        await stage.release("1")
        await stage.awaitBegun(3)
        #expect(await stage.present == ["0", "2"])
        await stage.release("2")
        await stage.awaitBegun(4)
        #expect(await stage.present == ["0", "3"])
        await stage.release("3")
        await stage.release("0")
        let ended = await result
        #expect(ended.runs.map(\.name) == ["0", "1", "2", "3"])
        #expect(ended.totals == ["passed": 4])
        #expect(ended.exitCode == 0)
        #expect(ended.runs.allSatisfy { $0.folder == $0.name && $0.hypervisor == "fake" && $0.ms != nil })
    }

    @Test("wait for memory in their order, so that a large one has its turn")
    func memory() async throws {
        let stage = Stage()
        // With 64 MiB for each hypervisor: 0 and 1 fit together, 2 only alone, 3 would fit beside any.
        let runs = try planned(.mib(100), .mib(100), .mib(400), .mib(1))
        async let result = batch(4, 500).run(runs) { run in
            await stage.perform(run.name)
            return outcome(run, .passed, 0)
        }
        await stage.awaitBegun(2)
        await stage.release("0")
        await stage.release("1")
        await stage.awaitBegun(3)
        #expect(await stage.begun.last == "2")
        await stage.release("2")
        await stage.awaitBegun(4)
        await stage.release("3")
        #expect(await result.totals == ["passed": 4])
    }

    @Test("of which one never fits the host go on without it")
    func neverFits() async throws {
        let begun = Mutex<[String]>([])
        let result = await batch(1, 500).run(try planned(.mib(437), .mib(1), .mib(436))) { run in
            begun.withLock { $0.append(run.name) }
            return outcome(run, .passed, 0)
        }
        #expect(begun.withLock { $0 } == ["1", "2"])
        #expect(result.runs.map(\.status) == [.error, .passed, .passed])
        #expect(result.exitCode == 16)
        let first = try #require(result.runs.first)
        #expect(first.folder == nil && first.ms == nil)
        #expect(first.why?.contains("437 MiB") == true && first.why?.contains("lower machine.memory") == true)
    }

    @Test(
        "end with the code that somebody has to look at first",
        arguments: [
            ([0, 0], 0), ([0, 1], 1), ([75, 1], 75), ([2, 75, 1], 2), ([1, 16, 75, 2], 16), ([16, 130, 0], 130),
        ] as [([Int32], Int32)])
    func exitCode(codes: [Int32], expected: Int32) async throws {
        let runs = try codes.map { _ in try planned(.mib(1))[0] }
        let rest = Mutex(codes[...])
        let result = await batch(1).run(runs) { run in
            let code = rest.withLock { $0.popFirst() } ?? -1
            return code == 0
                ? outcome(run, .passed, 0) : RunOutcome(result: nil, exitCode: code, report: nil, error: nil)
        }
        #expect(result.exitCode == expected)
        #expect(result.runs.map(\.exitCode) == codes)
    }

    @Test("that are interrupted wait for those that run and begin no other")
    func interrupted() async throws {
        let stage = Stage()
        let runs = try planned(.mib(1), .mib(1), .mib(1))
        let work = Task {
            await batch(2).run(runs) { run in
                await stage.perform(run.name)
                return Task.isCancelled ? outcome(run, .interrupted, 130) : outcome(run, .passed, 0)
            }
        }
        await stage.awaitBegun(2)
        work.cancel()
        await stage.release("0")
        await stage.release("1")
        let result = await work.value
        #expect(result.runs.map(\.status) == [.interrupted, .interrupted, .notRun])
        #expect(result.runs.map(\.exitCode) == [130, 130, nil])
        #expect(result.exitCode == 130)
        #expect(await stage.begun.count == 2)
        #expect(try result.json().contains(#""not run" : 1"#))
    }

    @Test("that are interrupted while one waits for memory do not begin it")
    func interruptedInQueue() async throws {
        let stage = Stage()
        let runs = try planned(.mib(400), .mib(400))
        let work = Task {
            await batch(2, 500).run(runs) { run in
                await stage.perform(run.name)
                return outcome(run, .interrupted, 130)
            }
        }
        await stage.awaitBegun(1)
        work.cancel()
        await stage.release("0")
        #expect(await work.value.runs.map(\.status) == [.interrupted, .notRun])
    }

    @Test("have their summary at last, whole, in a folder that was empty")
    func summary() async throws {
        let (scope, lock) = try RunScope.make(in: folder.path.appending("state"))
        defer { withExtendedLifetime(lock) {} }
        let result = await batch(1).run(try planned(.mib(1))) { outcome($0, .failed, 1) }
        let place = folder.path.appending("results")
        try BatchFolder(place).deliver(result, in: scope)
        #expect(HostFiles.names(in: place) == ["runs.json"])
        #expect(try HostFiles.readText(place.appending("runs.json")) == result.json())
        #expect { try BatchFolder(place) } throws: { ($0 as? BackendError)?.code == .invalidArgument }
        try scope.remove()
    }
}

@Suite("A memory budget")
struct MemoryBudgetTests {
    @Test("lets wait who does not fit, first come first served, and forgets who gives up")
    func order() async throws {
        let budget = MemoryBudget(.mib(3 * 64 + 30))
        try await budget.take(.mib(20))
        let large = Task { try await budget.take(.mib(90)) }
        while await budget.waiting < 1 { await Task.yield() }
        // Would fit, and comes after the large one.
        let small = Task { try await budget.take(.mib(1)) }
        while await budget.waiting < 2 { await Task.yield() }
        large.cancel()
        await #expect(throws: CancellationError.self) { try await large.value }
        try await small.value
        await budget.giveBack(.mib(1))
        await budget.giveBack(.mib(20))
        try await budget.take(.mib(3 * 64 + 30 - 64))
    }

    @Test("refuses at once what never fits, however large")
    func tooLarge() async throws {
        let budget = MemoryBudget(.mib(100))
        for memory in [ByteCount.mib(37), ByteCount(.max)] {
            await #expect { try await budget.take(memory) } throws: { error in
                let known = error as? BackendError
                return known?.code == .unavailable && known?.blame == .host
            }
        }
        try await budget.take(.mib(36))
    }

    @Test("of this host has some memory, and less than all of it")
    func host() async throws {
        let budget = try MemoryBudget.ofHost()
        try budget.check(.mib(1))
        #expect(throws: BackendError.self) { try budget.check(.gib(1 << 20)) }
    }
}
