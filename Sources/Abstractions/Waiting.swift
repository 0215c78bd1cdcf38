extension ContinuousClock {
    /// Sleeps until `deadline`, a second at a time.
    ///
    /// For deadlines, which are mostly cancelled: Swift keeps the memory of a cancelled sleep until its time would have come.
    /// - Throws: `CancellationError`.
    public static func wait(until deadline: Instant) async throws {
        while deadline > .now { try await Task.sleep(until: min(deadline, .now + .seconds(1)), clock: .continuous) }
    }
}
