import Abstractions

/// How long a call may take.
struct Patience: Sendable {
    /// Longest time from the start; nil: as long as it makes progress.
    var limit: Duration?
    /// Longest time without real progress; nil: does not matter.
    var stall: Duration?
    /// Longest time without any sign of a plugin that promised one a second.
    var silence: Duration = .seconds(5)
    /// What a plugin that keeps the deadline itself needs to say so.
    private let grace = Duration.milliseconds(500)

    private init(limit: Duration?, stall: Duration?) {
        self.limit = limit
        self.stall = stall
    }

    /// A call that only asks: 10 s.
    static let short = Patience(limit: .seconds(10), stall: nil)
    /// A call that may start programs or an appliance: 120 s.
    static let long = Patience(limit: .seconds(120), stall: nil)
    /// A transfer: as long as it moves, with at most 60 s without a step.
    static let transfer = Patience(limit: nil, stall: .seconds(60))

    /// The caller's deadline wins over the usual limit.
    func under(_ deadline: ContinuousClock.Instant?) -> Patience {
        guard let deadline else { return self }
        var patience = self
        patience.limit = max(.zero, ContinuousClock.now.duration(to: deadline))
        return patience
    }

    /// The first moment at which patience ends, and why.
    func next(
        started: ContinuousClock.Instant, lastSign: ContinuousClock.Instant?, lastProgress: ContinuousClock.Instant
    ) -> (ContinuousClock.Instant, String)? {
        var ends: [(ContinuousClock.Instant, String)] = []
        if let limit { ends.append((started + limit + grace, "did not answer within \(seconds(limit)) s")) }
        if let stall { ends.append((lastProgress + stall, "made no progress for \(seconds(stall)) s")) }
        if let lastSign { ends.append((lastSign + silence, "gave no sign of life for \(seconds(silence)) s")) }
        return ends.min { $0.0 < $1.0 }
    }

    private func seconds(_ duration: Duration) -> Double { Double(duration.milliseconds / 10) / 100 }
}
