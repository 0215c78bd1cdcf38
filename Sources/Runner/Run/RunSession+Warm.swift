import Abstractions
import Host

/// The machine of a run that starts warm.
struct WarmRun: Sendable {
    let pool: WarmPool
    let place: WarmPool.Place
    var machine: WarmMachine?
    /// Whether the machine is the pool's again.
    var isReturned = false
    /// Whether the machine stands still and its hypervisor answers.
    var isStill = false
}

/// What a run does instead when its machine comes from the pool.
extension RunSession {
    /// The place in the pool; nil for a run that starts cold, with a note when that was not what was wanted.
    func warmRun(_ image: GuestImage) async throws -> WarmRun? {
        guard (options.boot ?? recipe.boot) == .warm else { return nil }
        guard let pool else {
            note("the machine starts cold: this program keeps no machines")
            return nil
        }
        let place = try await pool.place(for: image, recipe.machine, preference, deadlines) { [log] in log.note($0) }
        if let obstacle = WarmMachine.obstacle(image, recipe.machine, place.reached.choice.info) {
            note("the machine starts cold: \(obstacle)")
            return nil
        }
        for (name, error) in place.reached.rejected { rejections.add(.hypervisor, name, error) }
        return WarmRun(pool: pool, place: place)
    }

    /// Gets a machine that waits, gives it the job and lets it go on.
    func wake() async throws {
        guard let warm, let disk, let job else { return }
        let machine: WarmMachine
        do {
            machine = try await warm.pool.take(warm.place, size: disk.size, deadlines)
        } catch let error as BackendError where error.code == .unsupported {
            note("the machine starts cold: \(error.message)")
            return try await startCold()
        }
        guard !isOver else { return await warm.pool.drop(machine, deadlines) }
        self.warm?.machine = machine
        self.machine = machine.machine
        isMachineSilent = false
        let start = HostFiles.size(machine.console) ?? 0
        try await machine.load(disk.image.path)
        let watch = watch(machine.machine, job, from: start, staysOn: true)
        self.watch = watch
        await watch.begin()
        try await machine.machine.pause?.resume()
        await watch.markStarted()
    }

    private func startCold() async throws {
        guard let image else { return }
        warm = nil
        choice = try await hypervisors.next(for: image, cpus: recipe.machine.cpus)
        try await makeOverlay()
        try await bootCold()
    }

    /// Holds the machine still and gets its disk.
    ///
    /// - Throws: what the hypervisor says; `timeout` when it says nothing.
    func stillMachine(_ machine: WarmMachine) async throws {
        let id = machine.machine.id
        let late = BackendError(.timeout, "machine.pause", "the hypervisor does not pause \(id)")
        do {
            try await abandoning(at: .now + deadlines[.call], late) {
                switch try await machine.machine.state() {
                case .running: try await machine.machine.pause?.pause()
                case .crashed: try await machine.machine.stop(.force)
                default: break
                }
            }
            warm?.isStill = true
        } catch {
            await killMachine(id, of: machine.scope)
            note(
                "the machine was ended without its hypervisor: \(BackendError.wrapping(error, "machine.pause").message)"
            )
        }
        if let disk { try await machine.unload(to: disk.image.path) }
    }

    /// Takes the machine back and gives it to the pool; one that cannot be taken back is destroyed.
    ///
    /// - Throws: why it cannot be taken back.
    func returnMachine() async throws {
        guard let warm, let machine = warm.machine, !warm.isReturned else { return }
        if warm.isStill {
            try await warm.pool.giveBack(machine, warm.place, deadlines)
        } else {
            await warm.pool.drop(machine, deadlines)
            await warm.pool.giveUp(warm.place, deadlines)
        }
        self.warm?.isReturned = true
    }

    /// Destroys a machine that did not get back to the pool.
    func dropMachine() async {
        guard let warm, let machine = warm.machine, !warm.isReturned else { return }
        self.warm?.isReturned = true
        await warm.pool.drop(machine, deadlines)
    }
}
