import Abstractions

/// A session that goes over to the next backend of the chain, with all changes since the last commit.
actor FallbackSession: DiskSession {
    nonisolated let mode: AccessMode
    nonisolated let staging: CopyStaging
    private let chain: CandidateChain<any DiskAccess>
    private let image: DiskImage
    private var link: SessionLink
    private var history: [Change] = []
    private var witness = CommitWitness()
    private var switching: Task<Void, any Error>?
    private var failures: [BackendError] = []
    private var isCommitting = false
    /// What ended the session for good.
    private var failure: BackendError?

    init(
        _ chain: CandidateChain<any DiskAccess>, _ image: DiskImage, _ mode: AccessMode, _ staging: CopyStaging,
        _ link: SessionLink
    ) {
        self.chain = chain
        self.image = image
        self.mode = mode
        self.staging = staging
        self.link = link
    }

    func volumes() async throws -> [Volume] {
        try await perform("session.volumes") { try await $0.session.volumes() }
    }

    func filesystem(on volume: VolumeID) async throws -> any GuestFilesystem {
        let mode = mode
        let hasMount = try await perform("session.filesystem") { link in
            let filesystem = try await link.filesystem(volume)
            if mode == .readWrite, filesystem.writable == nil {
                throw BackendError(.unsupported, "session.filesystem", "this backend cannot write to volume \(volume)")
            }
            return filesystem.mount != nil
        }
        return FallbackFilesystem(session: self, volume: volume, hasMount: hasMount)
    }

    func close() async throws {
        failure = BackendError(.invalidState, "session", "the session is closed", blame: .caller)
        // A switch under way may be about to open the image again.
        try? await switching?.value
        history = []
        do {
            try await link.session.close()
        } catch let error as BackendError where error.code.fallsThrough {
            // Whoever is gone has let go.
        }
    }

    /// Does `body` with the backend at work, and again with the next one when it falls through.
    func perform<Value: Sendable>(
        _ operation: String, _ body: @Sendable (SessionLink) async throws -> Value
    ) async throws -> Value {
        let budget = CallDeadline.remaining
        while true {
            let link = try await current()
            do {
                return try await CallDeadline.rearmed(budget) { try await body(link) }
            } catch {
                try await goOn(from: link, after: error, operation, budget)
            }
        }
    }

    /// Makes a change with the backend at work, and keeps it for the next one.
    func make(_ change: Change, progress: ProgressSink) async throws -> CopyReport {
        let budget = CallDeadline.remaining
        let hasNext = chain.candidates.count > 1
        while true {
            let link = try await current()
            do {
                let report = try await CallDeadline.rearmed(budget) {
                    let filesystem = try await link.filesystem(change.volume)
                    if hasNext { try await lookBefore(change, filesystem) }
                    return try await change.apply(to: filesystem, progress: progress)
                }
                // A change that a backend made while the session left it is not in what was done again: make it once more.
                guard isAtWork(link) else { continue }
                if hasNext { history.append(change) }
                return report
            } catch {
                try await goOn(from: link, after: error, change.operation, budget)
            }
        }
    }

    func commit() async throws {
        let budget = CallDeadline.remaining
        while true {
            let link = try await current()
            var asked = false
            do {
                let count = history.count
                try await CallDeadline.rearmed(budget) {
                    if count > 0 { try await lookAfter(link) }
                    asked = true
                    isCommitting = true
                    defer { isCommitting = false }
                    try await link.session.commit()
                }
                guard isAtWork(link) else { continue }
                history.removeFirst(min(count, history.count))
                witness = CommitWitness()
                return
            } catch {
                try await goOn(from: link, after: error, "session.commit", budget, asked)
                // The image says that it happened, so nothing is left to commit.
                if asked, history.isEmpty { return }
            }
        }
    }

    // MARK: - Going over to the next backend

    private func current() async throws -> SessionLink {
        try await switching?.value
        if let failure { throw failure }
        return link
    }

    private func isAtWork(_ link: SessionLink) -> Bool {
        link.generation == self.link.generation && switching == nil
    }

    /// Returns when the operation is to be done again; else throws.
    private func goOn(
        from link: SessionLink, after error: any Error, _ operation: String, _ budget: Duration?,
        _ inCommit: Bool = false
    ) async throws {
        // Another operation met the failure first, and this one was cut off by the switch.
        guard isAtWork(link) else { return }
        let known = try chain.fallsThrough(error, operation, link.index)
        let name = chain.candidates[link.index].name
        chain.log.reject(known, backend: name, operation: operation)
        failures.append(known)
        let inCommit = inCommit || isCommitting
        let task = Task {
            try await CallDeadline.$current.withValue(nil) {
                try await switchOver(from: link, known, operation, budget, inCommit)
            }
        }
        switching = task
        defer { if switching == task { switching = nil } }
        try await task.value
    }

    private func switchOver(
        from old: SessionLink, _ error: BackendError, _ operation: String, _ budget: Duration?, _ inCommit: Bool
    ) async throws {
        await bounded(.seconds(8)) { try? await old.session.close() }
        await chain.giveUp(old.index, error)
        let (image, mode, generation) = (image, mode, old.generation + 1)
        do {
            link = try await chain.first(operation, from: old.index + 1, budget: budget, earlier: failures) {
                disk, index in
                let session = try await disk.open(image, mode)
                let next = SessionLink(session, index: index, generation: generation)
                do {
                    try await redo(on: next, inCommit)
                } catch {
                    await bounded(.seconds(8)) { try? await session.close() }
                    throw error
                }
                return next
            }.0
        } catch {
            var known = BackendError.wrapping(error, operation)
            // An error of the next backend's own is not the whole story.
            if !known.causes.contains(where: failures.contains), !failures.contains(known) {
                known.causes += failures
            }
            failure = failure ?? known
            throw known
        }
    }

    /// Brings the image, as the next backend opened it, to where the session was.
    private func redo(on next: SessionLink, _ inCommit: Bool) async throws {
        if inCommit {
            switch witness.verdict(try await look(next)) {
            case .happened:
                history = []
                witness = CommitWitness()
                return
            case .didNotHappen: break
            case .unknown:
                guard history.allSatisfy(\.isIdempotent) else {
                    throw BackendError(
                        .internal, "session.commit",
                        "the commit to \(image.path) was cut off, and the image does not tell whether it happened; "
                            + "look at it before the changes are made again", retry: .never)
                }
            }
        }
        for change in history {
            _ = try await change.apply(to: try await next.filesystem(change.volume), progress: .none)
        }
    }

    // MARK: - What the commit will be known by

    private func lookBefore(_ change: Change, _ filesystem: any GuestFilesystem) async throws {
        for path in change.paths {
            let place = CommitWitness.Place(volume: change.volume, path: path)
            if !witness.knows(place) { witness.noteBefore(place, try await filesystem.statIfThere(path)) }
        }
    }

    private func lookAfter(_ link: SessionLink) async throws {
        for (place, stat) in try await look(link) { witness.noteAfter(place, stat) }
    }

    private func look(_ link: SessionLink) async throws -> [CommitWitness.Place: FileStat?] {
        var found: [CommitWitness.Place: FileStat?] = [:]
        for place in witness.places {
            found.updateValue(try await link.filesystem(place.volume).statIfThere(place.path), forKey: place)
        }
        return found
    }
}

extension GuestFilesystem {
    /// What is at the path, nil when nothing is.
    func statIfThere(_ path: GuestPath) async throws -> FileStat? {
        do {
            return try await stat(path)
        } catch let error as BackendError where error.code == .notFound && error.retry != .reopen {
            return nil
        }
    }
}
