import Abstractions
import Host

/// Machines that are booted once and taken back to that moment for each job, for all runs of one command.
///
/// A run has a machine alone; another gets it only after it was taken back and that was verified. What fails in between is
/// destroyed, and the next run gets a new one. Where code is translated before it runs, and the host has a core for it, a spare machine
/// makes it possible that one rehearses while the other runs a job. Machines never outlive the command: those of a killed one are `reap`'s.
public actor WarmPool {
    private let runner: Runner
    private let scope: RunScope
    private let limit: Int
    private let spares: Int
    private var runsToCome: Int
    private var rehearsal: Task<Rehearsal, any Error>?
    private var lanes: [Key: Lane] = [:]
    private var lanesMade = 0
    private var made = 0
    private var making = 0
    private var busy: [MachineID: WarmMachine] = [:]
    private var isClosed = false

    /// What two runs have in common that can use the same machine.
    fileprivate struct Key: Hashable {
        var image: GuestImage
        var shape: MachineShape
        var hypervisor: BackendPreference
    }

    private struct Lane {
        /// A lane that was given up and the one after it have the same key.
        var number: Int
        var reaching: Task<Reached, any Error>
        var idle: [Idle] = []
        var spares: [Task<Void, Never>] = []
    }

    /// A machine that nobody has.
    private struct Idle {
        var machine: WarmMachine
        /// What it does still before it waits for a job; nil when it waits.
        var rehearsing: Task<Void, any Error>?

        /// Whether it can be used, after its rehearsal is over; somebody may have killed it.
        func isWaiting() async -> Bool {
            do {
                try await withTaskCancellationHandler {
                    try await rehearsing?.value
                } onCancel: {
                    rehearsing?.cancel()
                }
                return try await machine.machine.state() == .paused
            } catch {
                return false
            }
        }
    }

    /// The hypervisor of a lane, and those that were given up before it.
    struct Reached: Sendable {
        var choice: HypervisorChain.Choice
        var rejected: [(name: String, error: BackendError)]
    }

    /// A pool without machines.
    ///
    /// - Parameters:
    ///   - scope: an open scope that lives longer than the pool; machines and their files belong to it.
    ///   - limit: most machines at once but for the spare ones, at least as many as there are runs at once.
    ///   - spares: how many more there may be, for which the host has cores and memory.
    ///   - runs: how many runs there will be; spare machines are made for no less than three.
    public init(_ runner: Runner, in scope: RunScope, limit: Int, spares: Int = 0, runs: Int = .max) {
        self.runner = runner
        self.scope = scope
        self.limit = max(1, limit) + spares
        self.spares = spares
        runsToCome = runs
    }

    /// One run's place among the machines of its kind.
    struct Place: Sendable {
        fileprivate var key: Key
        fileprivate var lane: Int
        var reached: Reached
    }

    /// The hypervisor that runs machines of this kind, reached once for all runs.
    ///
    /// - Parameter note: told of what takes a while, when this run is the one that reaches it.
    /// - Throws: `unavailable` with all causes when none is left; an error that does not fall through.
    func place(
        for image: GuestImage, _ shape: MachineShape, _ preference: BackendPreference, _ deadlines: Deadlines,
        note: @escaping @Sendable (String) -> Void
    ) async throws -> Place {
        guard !isClosed else { throw CancellationError() }
        let key = Key(image: image, shape: shape, hypervisor: preference)
        if lanes[key] == nil {
            lanesMade += 1
            lanes[key] = Lane(number: lanesMade, reaching: reach(image, shape, preference, deadlines, note))
        }
        guard let lane = lanes[key] else { throw CancellationError() }
        do {
            return Place(key: key, lane: lane.number, reached: try await lane.reaching.value)
        } catch {
            // The next run asks anew.
            if lanes[key]?.number == lane.number { lanes[key] = nil }
            throw error
        }
    }

    private nonisolated func reach(
        _ image: GuestImage, _ shape: MachineShape, _ preference: BackendPreference, _ deadlines: Deadlines,
        _ note: @escaping @Sendable (String) -> Void
    ) -> Task<Reached, any Error> {
        let (runner, scope) = (runner, scope)
        return Task {
            try await RunScope.$adopted.withValue(scope) {
                let rejected = Rejections(EventLog(attempt: scope.id) { _ in })
                let chain = try HypervisorChain(
                    preference, runner.registry, cache: runner.cache, deadlines: deadlines,
                    reject: { rejected.add(.hypervisor, $0, $1) }, note: note)
                let choice = try await chain.next(for: image, cpus: shape.cpus)
                return Reached(choice: choice, rejected: rejected.all.map { ($0.backend, $0.error) })
            }
        }
    }

    /// A machine that waits, with an IO disk of at least this size: one that is free, else a new one.
    ///
    /// - Throws: what stands against a new one.
    func take(_ place: Place, size: Int64, _ deadlines: Deadlines) async throws -> WarmMachine {
        runsToCome = max(0, runsToCome - 1)
        addSpare(place, size, deadlines)
        while let idle = takeIdle(place, size) {
            busy[idle.machine.machine.id] = idle.machine
            if await idle.isWaiting(), !isUnwanted { return idle.machine }
            await drop(idle.machine, deadlines)
            guard !isUnwanted else { throw CancellationError() }
        }
        await makeRoom(deadlines)
        let machine = try await newMachine(place, size, deadlines)
        busy[machine.machine.id] = machine
        guard !isUnwanted else {
            await drop(machine, deadlines)
            throw CancellationError()
        }
        return machine
    }

    /// Whether nobody wants the machine any more for which the current task asked.
    private var isUnwanted: Bool { isClosed || Task.isCancelled }

    /// Takes a machine out of those that nobody has: one that waits, before one that rehearses.
    private func takeIdle(_ place: Place, _ size: Int64) -> Idle? {
        guard let lane = lanes[place.key], lane.number == place.lane else { return nil }
        let index =
            lane.idle.firstIndex { $0.machine.disk.size >= size && $0.rehearsing == nil }
            ?? lane.idle.firstIndex { $0.machine.disk.size >= size }
        return index.flatMap { lanes[place.key]?.idle.remove(at: $0) }
    }

    private func newMachine(_ place: Place, _ size: Int64, _ deadlines: Deadlines) async throws -> WarmMachine {
        made += 1
        making += 1
        defer { making -= 1 }
        let name = "w\(made)"
        let order = WarmOrder(
            image: place.key.image, shape: place.key.shape, room: Self.room(size), deadlines: deadlines)
        let rehearsal = try await madeRehearsal()
        return try await RunScope.$adopted.withValue(scope) {
            try await WarmMachine.make(
                name, order, on: place.reached.choice, in: scope, overlay: runner.overlay, rehearsal: rehearsal)
        }
    }

    /// Begins to make a spare machine where one is of use.
    private func addSpare(_ place: Place, _ size: Int64, _ deadlines: Deadlines) {
        guard !isClosed, place.reached.choice.info.translatesCode == true, runsToCome >= 3,
            let lane = lanes[place.key], lane.number == place.lane, lane.spares.count < spares, machines < limit
        else { return }
        let spare = Task {
            // It is worth no word when there is none: the runs go on with what they have.
            guard let machine = try? await newMachine(place, size, deadlines) else { return }
            guard !isClosed, lanes[place.key]?.number == place.lane else {
                return await machine.destroy(within: deadlines[.call])
            }
            lanes[place.key]?.idle.append(Idle(machine: machine))
        }
        lanes[place.key]?.spares.append(spare)
    }

    private var machines: Int { busy.count + making + lanes.values.reduce(0) { $0 + $1.idle.count } }

    private func madeRehearsal() async throws -> Rehearsal {
        let making =
            rehearsal ?? Task { [scope] in try await Rehearsal.make(in: scope.work.appending("rehearsal")) }
        rehearsal = making
        do {
            return try await making.value
        } catch {
            // The next machine's try is a new one.
            rehearsal = nil
            throw error
        }
    }

    /// The size of the disks of machines that take jobs of this size: few sizes, so that machines fit many jobs.
    static func room(_ size: Int64) -> Int64 {
        var room: Int64 = 512 << 20
        while room < size { room *= 2 }
        return room
    }

    private func makeRoom(_ deadlines: Deadlines) async {
        while machines >= limit {
            guard let key = lanes.first(where: { !$0.value.idle.isEmpty })?.key,
                let idle = lanes[key]?.idle.removeFirst()
            else { return }
            await remove(idle, deadlines)
        }
    }

    private func remove(_ idle: Idle, _ deadlines: Deadlines) async {
        idle.rehearsing?.cancel()
        _ = await idle.rehearsing?.result
        await idle.machine.destroy(within: deadlines[.call])
    }

    /// Takes a machine back to the moment in which it waits, and lets others have it.
    ///
    /// - Throws: why it cannot be taken back; it is destroyed then.
    func giveBack(_ machine: WarmMachine, _ place: Place, _ deadlines: Deadlines) async throws {
        do {
            try await machine.restore()
        } catch {
            await drop(machine, deadlines)
            throw error
        }
        // Somebody may have lost patience and dropped it meanwhile.
        guard busy[machine.machine.id] != nil else { return }
        // A console without end would fill the host's disk.
        guard !isClosed, lanes[place.key]?.number == place.lane,
            (HostFiles.size(machine.console) ?? 0) < ConsoleTail.keep
        else {
            return await drop(machine, deadlines)
        }
        busy[machine.machine.id] = nil
        lanes[place.key]?.idle.append(Idle(machine: machine, rehearsing: rehearsing(machine, place)))
    }

    /// Lets a machine rehearse beside the jobs, where that is of use and a core is free for it.
    private func rehearsing(_ machine: WarmMachine, _ place: Place) -> Task<Void, any Error>? {
        guard spares > 0, place.reached.choice.info.translatesCode == true, runsToCome > 0 else { return nil }
        return Task {
            try await machine.rehearse()
            guard let index = lanes[place.key]?.idle.firstIndex(where: { $0.machine.machine.id == machine.machine.id })
            else { return }
            lanes[place.key]?.idle[index].rehearsing = nil
        }
    }

    /// Destroys a machine that cannot be taken back.
    func drop(_ machine: WarmMachine, _ deadlines: Deadlines) async {
        await machine.destroy(within: deadlines[.call])
        busy[machine.machine.id] = nil
    }

    /// Gives up a hypervisor that answers no more, with its machines; the next run reaches for one anew.
    func giveUp(_ place: Place, _ deadlines: Deadlines) async {
        guard lanes[place.key]?.number == place.lane, let lane = lanes.removeValue(forKey: place.key) else { return }
        await close(lane, deadlines)
    }

    private func close(_ lane: Lane, _ deadlines: Deadlines) async {
        for spare in lane.spares {
            spare.cancel()
            await spare.value
        }
        for idle in lane.idle { await remove(idle, deadlines) }
        guard let choice = try? await lane.reaching.value.choice else { return }
        let late = BackendError(.timeout, "release", "closing took too long")
        try? await abandoning(at: .now + deadlines[.call], late) { await choice.close() }
    }

    /// Destroys every machine and closes every hypervisor.
    public func close() async {
        isClosed = true
        let deadlines = runner.configuration.deadlines
        for machine in busy.values { await drop(machine, deadlines) }
        let left = lanes.values
        lanes = [:]
        for lane in left { await close(lane, deadlines) }
    }
}
