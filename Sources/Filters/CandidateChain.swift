import Abstractions

/// The backends of a chain: each made when its turn comes, and not used again once it has broken down.
actor CandidateChain<Backend: Sendable> {
    nonisolated let candidates: [Candidate<Backend>]
    nonisolated let log: FallbackLog
    private let shut: @Sendable (Backend) async -> Void
    private var made: [Int: Task<Backend, any Error>] = [:]
    private var broken: [Int: BackendError] = [:]
    private var isClosed = false

    init(
        _ candidates: [Candidate<Backend>], _ log: FallbackLog, shut: @escaping @Sendable (Backend) async -> Void
    ) {
        self.candidates = candidates
        self.log = log
        self.shut = shut
    }

    /// Does `body` with the first usable backend that does not fall through.
    ///
    /// Each backend gets the whole time that the caller gave: what one wasted is not taken from the next.
    /// - Returns: what `body` made, and the index of the backend that did it.
    /// - Throws: the only backend's own error; else what `exhausted` makes of all; at once what does not fall through.
    func first<Value: Sendable>(
        _ operation: String, from start: Int = 0, budget: Duration? = CallDeadline.remaining,
        earlier: [BackendError] = [],
        _ body: @Sendable (Backend, Int) async throws -> Value
    ) async throws -> (Value, Int) {
        var causes = earlier
        for index in candidates.indices where index >= start {
            if let error = broken[index] {
                causes.append(error)
                continue
            }
            do {
                let value = try await CallDeadline.rearmed(budget) { try await body(try await backend(index), index) }
                log.use(candidates[index].name)
                return (value, index)
            } catch {
                let known = try fallsThrough(error, operation, index)
                log.reject(known, backend: candidates[index].name, operation: operation)
                await giveUp(index, known)
                causes.append(known)
            }
        }
        throw exhausted(operation, causes)
    }

    /// The error when the next backend may try, else thrown.
    nonisolated func fallsThrough(_ error: any Error, _ operation: String, _ index: Int) throws -> BackendError {
        if error is CancellationError || Task.isCancelled { throw error }
        let known = BackendError.wrapping(error, operation).named(candidates[index].name)
        guard known.code.fallsThrough else { throw known }
        return known
    }

    /// Stops using a backend that broke down; one that only cannot do this once stays for the next image.
    func giveUp(_ index: Int, _ error: BackendError) async {
        guard error.code != .unsupported else { return }
        broken[index] = error
        guard let task = made.removeValue(forKey: index) else { return }
        // A wedged backend would hold up everything; its process was killed for its silence already.
        let shut = shut
        await bounded(.seconds(8)) {
            if let backend = try? await task.value { await shut(backend) }
        }
    }

    func backend(_ index: Int) async throws -> Backend {
        if isClosed { throw BackendError(.invalidState, "backend", "the backends are closed") }
        if let task = made[index] { return try await task.value }
        let make = candidates[index].make
        let task = Task { try await make() }
        made[index] = task
        do {
            return try await task.value
        } catch {
            made[index] = nil
            throw error
        }
    }

    /// The backends that are made and well.
    func atWork() async -> [(Int, Backend)] {
        var backends: [(Int, Backend)] = []
        for (index, task) in made.sorted(by: { $0.key < $1.key }) where broken[index] == nil {
            if let backend = try? await task.value { backends.append((index, backend)) }
        }
        return backends
    }

    func close() async {
        isClosed = true
        let tasks = made
        made = [:]
        for task in tasks.values {
            if let backend = try? await task.value { await shut(backend) }
        }
    }

    nonisolated func exhausted(_ operation: String, _ causes: [BackendError]) -> BackendError {
        if causes.count == 1, let only = causes.first { return only }
        let names = candidates.map(\.name).joined(separator: ", ")
        let codes = Set(causes.map(\.code))
        let common = codes.count == 1 ? codes.first : nil
        return BackendError(
            common ?? .unavailable, operation, "none of \(names) could do it, `anyvisor doctor` says what they lack",
            causes: causes)
    }
}

extension CallDeadline {
    /// Runs `body` with a deadline `budget` from now; nil leaves the deadline as it is.
    static func rearmed<Value: Sendable>(
        _ budget: Duration?, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Value
    ) async throws -> Value {
        guard let budget else { return try await body() }
        return try await $current.withValue(.now + budget, operation: body, isolation: isolation)
    }
}
