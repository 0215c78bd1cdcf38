import Abstractions
import Filters
import Host

/// Gives the hypervisors of a recipe one by one, each reached and fit for the image; decided before a machine exists.
actor HypervisorChain {
    /// A hypervisor that answers.
    struct Choice: Sendable {
        var name: String
        var hypervisor: any Hypervisor
        var info: HypervisorInfo
        /// What of the host its machines keep other kinds of hypervisors from, until it is closed.
        fileprivate let shares: [HostShare]

        /// Lets the hypervisor go, and what it had of the host.
        func close() async {
            await hypervisor.close()
            shares.forEach { $0.release() }
        }
    }

    private var rest: ArraySlice<Candidate<any Hypervisor>>?
    private let preference: BackendPreference
    private let registry: BackendRegistry
    private let names: [String]
    private let proofs: ProofCache
    private let deadlines: Deadlines
    private var failures: [BackendError] = []
    private let report: @Sendable (String, BackendError) -> Void
    private let tell: @Sendable (String) -> Void

    /// - Parameters:
    ///   - reject: told of each hypervisor that is passed over.
    ///   - note: told of what takes a while.
    /// - Throws: `invalidArgument` for a name that nobody knows or an option that its backend does not take.
    init(
        _ preference: BackendPreference, _ registry: BackendRegistry, cache: HostPath, deadlines: Deadlines,
        reject: @escaping @Sendable (String, BackendError) -> Void, note: @escaping @Sendable (String) -> Void
    ) throws {
        // Made again when the image is known; here for what is wrong with names and options.
        names = try registry.hypervisorCandidates(try preference.names(.hypervisor)) {
            preference.options[$0] ?? [:]
        }.map(\.name)
        self.preference = preference
        self.registry = registry
        proofs = ProofCache(cache: cache, note: note)
        self.deadlines = deadlines
        report = reject
        tell = note
    }

    private func candidates(for image: GuestImage) throws -> [Candidate<any Hypervisor>] {
        try registry.hypervisorCandidates(names) { name in
            var options = preference.options[name] ?? [:]
            // A backend that can prove itself by a kernel gets the one that it shall boot.
            let declared = registry.find(name, .hypervisor)?.options ?? []
            if let folder = image.folder, image.kernel != nil, declared.contains(where: { $0.name == "proofImage" }) {
                options["proofImage"] = options["proofImage"] ?? folder.string
            }
            return options
        }
    }

    /// The next one that can run the image.
    ///
    /// - Throws: `unavailable` with all causes when none is left; an error that does not fall through.
    func next(for image: GuestImage, cpus: Int) async throws -> Choice {
        var left = try rest ?? candidates(for: image)[...]
        while let candidate = left.popFirst() {
            rest = left
            do {
                return try await reach(candidate, image, cpus, isLast: left.isEmpty)
            } catch {
                if Task.isCancelled { throw CancellationError() }
                let known = BackendError.wrapping(error, "resolve").named(candidate.name)
                guard known.code.fallsThrough else { throw known }
                note(candidate.name, known)
            }
        }
        // One alone speaks for itself.
        if names.count == 1, let only = failures.first { throw only }
        throw BackendError(
            .unavailable, "resolve",
            "no hypervisor is left of: \(names.joined(separator: ", ")); `anyvisor doctor` says what each lacks",
            blame: .backend, causes: failures)
    }

    /// Gives up a hypervisor that could not make the machine; the error is kept for when none is left.
    func reject(_ choice: Choice, _ error: BackendError) async {
        note(choice.name, error)
        // Not awaited for long: it may hang.
        let late = BackendError(.timeout, "release", "closing took too long")
        try? await abandoning(at: .now + .seconds(3), late) { await choice.close() }
    }

    private func note(_ name: String, _ error: BackendError) {
        failures.append(error)
        report(name, error)
    }

    private func reach(
        _ candidate: Candidate<any Hypervisor>, _ image: GuestImage, _ cpus: Int, isLast: Bool
    ) async throws -> Choice {
        let shares = try await shares(candidate.name, isLast: isLast)
        let hypervisor = try await candidate.make()
        do {
            let patience = deadlines[.call] * 2
            let late = BackendError(
                .timeout, "resolve", "does not answer within \(patience.inSeconds) s", backend: candidate.name)
            let info = try await abandoning(at: .now + patience, late) { try await hypervisor.info() }
            try Self.checkFit(info, image, cpus)
            // One that answers may still never boot; with another to go to, it has to prove that it does.
            if !isLast { try await proofs.require(hypervisor, info, image) }
            return Choice(name: candidate.name, hypervisor: hypervisor, info: info, shares: shares)
        } catch {
            Task { await hypervisor.close() }
            throw error
        }
    }

    /// What the backend declares as exclusive, while no other kind of user has it. With another hypervisor to go to nobody waits.
    ///
    /// - Throws: `unavailable`, or `inUse` for the last one when its time is over; both name the holder.
    private func shares(_ name: String, isLast: Bool) async throws -> [HostShare] {
        let wanted = registry.find(name, .hypervisor)?.about.exclusive ?? [:]
        // The phase has this deadline too, and would not say whom it waited for.
        let end = ContinuousClock.now + max(.zero, deadlines[.resolve] - .seconds(2))
        var taken: [HostShare] = []
        var told: String?
        for (resource, kind) in wanted.sorted(by: { $0.key < $1.key }) {
            while true {
                do {
                    taken.append(try HostShare.take(resource, as: kind))
                    break
                } catch let error as BackendError where error.code == .inUse {
                    guard isLast else { throw BackendError(.unavailable, "resolve", error.message, blame: .host) }
                    guard ContinuousClock.now < end else { throw error }
                    if told != error.message { tell("waits for others: \(error.message)") }
                    told = error.message
                    try await Task.sleep(for: .milliseconds(200))
                }
            }
        }
        return taken
    }

    private static func checkFit(_ info: HypervisorInfo, _ image: GuestImage, _ cpus: Int) throws {
        func refuse(_ message: String) -> BackendError { BackendError(.unsupported, "resolve", message) }
        guard info.features.contains(.executesGuests) || info.features.contains(.simulated) else {
            throw refuse("keeps only books on machines and runs none")
        }
        guard image.kernel == nil || info.features.contains(.kernelBoot) else {
            throw refuse("cannot boot the kernel of image '\(image.name)'")
        }
        guard info.diskFormats.contains(.raw) else { throw refuse("takes no raw disk, which carries the job") }
        guard cpus <= info.maximumCPUs else { throw refuse("gives a machine at most \(info.maximumCPUs) cpus") }
    }
}
