import Abstractions
import Host

/// Runs several runs, some at once, each as soon as there is room for its machine; in order, so that none waits for ever.
///
/// Cancel the calling task to interrupt it: those that run are cancelled and waited for, the rest is not begun.
public struct Batch: Sendable {
    /// Most runs at once.
    public var jobs: Int
    /// The memory that their machines share.
    public var budget: MemoryBudget

    /// Puts the limits together.
    public init(jobs: Int, budget: MemoryBudget) {
        self.jobs = jobs
        self.budget = budget
    }

    /// What happens.
    public enum Event: Sendable {
        /// A run begins.
        case began(PlannedRun)
        /// A run ended.
        case ended(BatchResult.Run)
    }

    /// Runs all to their end; never throws.
    ///
    /// - Parameters:
    ///   - observer: sees each event as it happens; must return at once.
    ///   - one: runs one to its end, in a scope of its own.
    public func run(
        _ runs: [PlannedRun], observer: @escaping @Sendable (Event) -> Void = { _ in },
        one: @escaping @Sendable (PlannedRun) async -> RunOutcome
    ) async -> BatchResult {
        let startedMs = WallClock.now
        let start = ContinuousClock.now
        var ended = runs.map { BatchResult.Run($0) }
        await withTaskGroup(of: (Int, BatchResult.Run).self) { group in
            var running = 0
            for (index, run) in runs.enumerated() {
                if running == jobs, let (other, result) = await group.next() {
                    ended[other] = result
                    running -= 1
                }
                do {
                    try await budget.take(run.recipe.machine.memory)
                } catch let error as BackendError {
                    ended[index] = BatchResult.Run(run, RunOutcome(error), ms: nil)
                    observer(.ended(ended[index]))
                    continue
                } catch {
                    break
                }
                if Task.isCancelled {
                    await budget.giveBack(run.recipe.machine.memory)
                    break
                }
                running += 1
                group.addTask { (index, await attempt(run, observer, one)) }
            }
            for await (other, result) in group { ended[other] = result }
        }
        return BatchResult(ended, startedMs: startedMs, ms: start.duration(to: .now).milliseconds, jobs: jobs)
    }

    private func attempt(
        _ run: PlannedRun, _ observer: @Sendable (Event) -> Void, _ one: @Sendable (PlannedRun) async -> RunOutcome
    ) async -> BatchResult.Run {
        observer(.began(run))
        let begin = ContinuousClock.now
        let outcome = await one(run)
        await budget.giveBack(run.recipe.machine.memory)
        let result = BatchResult.Run(run, outcome, ms: begin.duration(to: .now).milliseconds)
        observer(.ended(result))
        return result
    }
}

extension RunOutcome {
    /// The outcome of a run that an error kept from beginning.
    public init(_ error: BackendError) {
        self.init(result: nil, exitCode: RunExit.of(error), report: nil, error: error)
    }
}
