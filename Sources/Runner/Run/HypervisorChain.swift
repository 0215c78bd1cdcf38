import Abstractions

/// Gives the hypervisors of a recipe one by one, each reached and fit for the image; decided before a machine exists.
actor HypervisorChain {
    /// A hypervisor that answers.
    struct Choice: Sendable {
        var descriptor: BackendDescriptor
        var hypervisor: any Hypervisor
        var info: HypervisorInfo
    }

    private var rest: ArraySlice<BackendDescriptor>
    private let candidates: Candidates
    private let patience: Duration
    private var failures: [BackendError]
    private let report: @Sendable (BackendDescriptor, BackendError) -> Void

    init(
        _ candidates: Candidates, patience: Duration,
        reject: @escaping @Sendable (BackendDescriptor, BackendError) -> Void
    ) {
        self.candidates = candidates
        self.patience = patience
        rest = candidates.descriptors[...]
        failures = candidates.missing.map(\.error)
        report = reject
    }

    /// The next one that can run the image.
    ///
    /// - Throws: `unavailable` with all causes when none is left; an error that does not fall through.
    func next(for image: BuiltImage, cpus: Int) async throws -> Choice {
        while let descriptor = rest.popFirst() {
            do {
                return try await reach(descriptor, image, cpus)
            } catch {
                if Task.isCancelled { throw CancellationError() }
                let known = BackendError.wrapping(error, "resolve").named(descriptor.name)
                guard known.code.fallsThrough else { throw known }
                note(descriptor, known)
            }
        }
        let names = (candidates.missing.map(\.backend) + candidates.descriptors.map(\.name)).joined(separator: ", ")
        throw BackendError(
            .unavailable, "resolve", "no hypervisor is left of: \(names); `anyvisor doctor` says what each lacks",
            blame: .backend, causes: failures)
    }

    /// Gives up a hypervisor that could not make the machine; the error is kept for when none is left.
    func reject(_ choice: Choice, _ error: BackendError) async {
        note(choice.descriptor, error)
        // Not awaited for long: it may hang.
        let hypervisor = choice.hypervisor
        let late = BackendError(.timeout, "release", "closing took too long")
        try? await abandoning(at: .now + .seconds(3), late) { await hypervisor.close() }
    }

    private func note(_ descriptor: BackendDescriptor, _ error: BackendError) {
        failures.append(error)
        report(descriptor, error)
    }

    private func reach(_ descriptor: BackendDescriptor, _ image: BuiltImage, _ cpus: Int) async throws -> Choice {
        guard case .hypervisor(let make) = descriptor.factory else {
            throw BackendError(.internal, "resolve", "'\(descriptor.name)' is no hypervisor")
        }
        let hypervisor = try await make(try candidates.values(for: descriptor))
        do {
            let late = BackendError(
                .timeout, "resolve", "does not answer within \(patience.inSeconds) s", backend: descriptor.name)
            let info = try await abandoning(at: .now + patience, late) { try await hypervisor.info() }
            try Self.checkFit(info, image, cpus)
            return Choice(descriptor: descriptor, hypervisor: hypervisor, info: info)
        } catch {
            Task { await hypervisor.close() }
            throw error
        }
    }

    private static func checkFit(_ info: HypervisorInfo, _ image: BuiltImage, _ cpus: Int) throws {
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
