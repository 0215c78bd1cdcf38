import Abstractions

/// What `runs.json` holds; its fields are described in docs/runs.md.
public struct BatchResult: Sendable, Hashable, Codable {
    /// Version of this layout.
    public var schema = 1
    /// The exit code that goes with all of it.
    public var exitCode: Int32
    /// When it began, in milliseconds since 1970.
    public var startedMs: Int64
    /// How long it took.
    public var ms: Int64
    /// How many were allowed at once.
    public var jobs: Int
    /// How many runs have each status; those that none has are left out.
    public var totals: [String: Int]
    /// All runs in order.
    public var runs: [Run]

    /// How a run ended.
    public enum Status: String, Sendable, Hashable, Codable, CaseIterable {
        /// Every task succeeded.
        case passed
        /// A task did not.
        case failed
        /// A hypervisor, a disk backend or the host failed.
        case error
        /// Its recipe or an input was refused.
        case refused
        /// Somebody stopped it.
        case interrupted
        /// Somebody stopped the command before it began.
        case notRun = "not run"
    }

    /// One run.
    public struct Run: Sendable, Hashable, Codable {
        /// Its name.
        public var name: String
        /// The recipe's file.
        public var recipe: String
        /// The value that each name of its matrix has.
        public var matrix: [String: String]
        /// Its result folder beside `runs.json`, nil when it has none.
        public var folder: String?
        /// How it ended.
        public var status: Status
        /// The exit code that it would have had alone, nil when it did not run.
        public var exitCode: Int32?
        /// How long it took, nil when it could not begin.
        public var ms: Int64?
        /// The hypervisor that ran its machine.
        public var hypervisor: String?
        /// Why there is no better status, in a line.
        public var why: String?
    }

    init(_ runs: [Run], startedMs: Int64, ms: Int64, jobs: Int) {
        self.startedMs = startedMs
        self.ms = ms
        self.jobs = jobs
        self.runs = runs
        totals = Dictionary(runs.map { ($0.status.rawValue, 1) }, uniquingKeysWith: +)
        // What somebody has to look at first.
        let codes = Set(runs.map { $0.exitCode ?? RunExit.interrupted })
        let order = [
            RunExit.interrupted, RunExit.infrastructure, RunExit.usage, RunExit.temporary, RunExit.failed,
        ]
        exitCode = order.first(where: codes.contains) ?? RunExit.passed
    }

    /// The text of `runs.json`.
    ///
    /// - Throws: never in practice; what the encoder says.
    public func json() throws -> String {
        String(decoding: try JSONText.encode(self, pretty: true), as: UTF8.self) + "\n"
    }
}

extension BatchResult.Run {
    /// A run that was not begun.
    init(_ run: PlannedRun) {
        name = run.name
        recipe = run.recipe.file.string
        matrix = Dictionary(run.recipe.matrix.values.map { ($0.name, $0.text) }) { first, _ in first }
        status = .notRun
    }

    /// A run that ended, or could not begin.
    init(_ run: PlannedRun, _ outcome: RunOutcome, ms: Int64?) {
        self.init(run)
        self.ms = ms
        exitCode = outcome.exitCode
        folder = outcome.report == nil ? nil : run.name
        hypervisor = outcome.result?.hypervisor?.name
        status =
            switch outcome.result?.status {
            case .passed: .passed
            case .failed: .failed
            case .interrupted: .interrupted
            case .error: .error
            case nil:
                switch outcome.exitCode {
                case RunExit.interrupted: .interrupted
                case RunExit.usage: .refused
                default: .error
                }
            }
        let task = outcome.result?.tasks.first { $0.status != .success }
        why =
            outcome.error?.message.split(whereSeparator: \.isNewline).first.map(String.init)
            ?? task.map { task in "task \(task.id): " + (task.reasons.first ?? task.status.rawValue) }
    }
}
