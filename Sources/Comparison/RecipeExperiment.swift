import Abstractions
import AnyvisorKit
import Host
import Runner
import Synchronization

/// Measures a recipe: each cell is a run with the hypervisor, disk backend, image and way to boot that its levels name.
public final class RecipeExperiment: Experiment {
    private let runner: Runner
    private let recipes: [Recipe]
    private let pool: WarmPool
    private let allowSimulated: Bool
    private let leftover: @Sendable (BackendError) -> Void
    /// Who ran each cell the first time.
    private let first = Mutex<[String: String]>([:])

    /// - Parameters:
    ///   - recipes: the recipe, once for each cell of its matrix.
    ///   - cells: everything that will be measured.
    ///   - scope: the command's own; machines that are kept between measurements belong to it.
    ///   - leftover: told what could not be cleared up.
    public init(
        _ recipes: [Recipe], by runner: Runner, cells: [Cell], in scope: RunScope, allowSimulated: Bool,
        leftover: @escaping @Sendable (BackendError) -> Void
    ) {
        self.runner = runner
        self.recipes = recipes
        self.allowSimulated = allowSimulated
        self.leftover = leftover
        pool = WarmPool(runner, in: scope, limit: cells.count)
    }

    /// One measurement; see `Experiment`.
    public func measure(_ cell: Cell, into folder: HostPath) async -> Measurement {
        guard let recipe = recipe(of: cell) else { return Measurement(why: "the recipe's matrix has no such cell") }
        var options = RunOptions(report: folder)
        // One name each: falling back would measure something else.
        options.hypervisors = [cell.levels["hypervisor"]].compactMap(\.self)
        options.disks = [cell.levels["disk"]].compactMap(\.self)
        options.boot = cell.levels["boot"].flatMap { BootMode(rawValue: $0) }
        options.allowSimulated = allowSimulated
        let meter = ProcessMeter()
        let watch = Task { await meter.watch() }
        defer { watch.cancel() }
        let firstTaskMs = Mutex<Int64?>(nil)
        let outcome: RunOutcome
        do {
            outcome = try await WorkScope().run(leftover: leftover) { [options] scope in
                await runner.run(recipe, options, in: scope, pool: pool) { event in
                    if event.kind == .taskStart { firstTaskMs.withLock { $0 = $0 ?? event.sinceStartMs } }
                    guard event.kind == .taskStart || event.kind == .guestDone else { return }
                    // The observer must return at once.
                    Task.detached { meter.findForeign(run: event.attempt) }
                }
            }
        } catch {
            return Measurement(why: BackendError.wrapping(error, "compare").message)
        }
        return measurement(outcome, folder, cell, firstTaskMs.withLock(\.self), meter)
    }

    private func recipe(of cell: Cell) -> Recipe? {
        let found = recipes.first { recipe in
            recipe.matrix.values.allSatisfy { cell.levels[$0.name] == $0.text }
        }
        guard var recipe = found else { return nil }
        if let image = cell.levels["image"] { recipe.image = .name(image) }
        return recipe
    }

    private func measurement(
        _ outcome: RunOutcome, _ folder: HostPath, _ cell: Cell, _ firstTaskMs: Int64?, _ meter: ProcessMeter
    ) -> Measurement {
        guard let result = outcome.result else {
            return Measurement(why: outcome.error?.message ?? "the run could not begin")
        }
        var measurement = Measurement()
        let backends = [result.hypervisor].compactMap(\.self) + result.disk.values
        measurement.versions = Dictionary(backends.map { ($0.name, $0.version) }) { $1 }
        if let image = result.image { measurement.images = [image.name: image.identity] }
        if result.status != .passed {
            let task = result.tasks.first { $0.status != .success }
            measurement.why =
                outcome.error?.message.split(whereSeparator: \.isNewline).first.map(String.init)
                ?? task.map { "task \($0.id): \($0.reasons.first ?? $0.status.rawValue)" } ?? result.status.rawValue
        } else if let boot = cell.levels["boot"], let really = result.boot, boot != really {
            measurement.why = "it started \(really): " + (result.notes.first ?? "no \(boot) start here")
        } else if let other = otherBackend(result, cell) {
            measurement.why = other
        } else {
            measurement.values = RunMeasurement.values(of: result, in: folder, firstTaskMs: firstTaskMs)
            measurement.values.merge(meter.values()) { $1 }
        }
        return measurement
    }

    /// Why the run is not one of its cell's: a chain of backends may take another than it did the first time.
    private func otherBackend(_ result: RunResult, _ cell: Cell) -> String? {
        let disks = result.disk.sorted { $0.key < $1.key }.map { "\($0.key) by \($0.value.name)" }
        let now = ([result.hypervisor?.name].compactMap(\.self) + disks).joined(separator: ", ")
        let before = first.withLock { first in
            defer { if first[cell.name] == nil { first[cell.name] = now } }
            return first[cell.name] ?? now
        }
        return before == now ? nil : "it ran on \(now), before on \(before)"
    }

    /// Says in which respects two runs did not come to the same.
    public func differences(_ first: HostPath, _ second: HostPath) throws -> [String] {
        try RunComparison(first, second).differences().map { one in
            let place = [one.task.map { "task \($0)" }, one.what, one.line.map { "line \($0)" }].compactMap(\.self)
            return "\(place.joined(separator: ", ")): '\(one.first)', '\(one.second)'"
        }
    }

    /// Ends what was kept between measurements.
    public func close() async { await pool.close() }
}
