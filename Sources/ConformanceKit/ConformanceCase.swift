import Abstractions

/// One sentence of a contract, as a check that any backend has to pass.
///
/// A case looks at declared features and facets only, never at a backend's name. Plain functions, so that the suite also runs in
/// a binary that has no testing library.
public struct ConformanceCase<Context: Sendable>: Sendable {
    /// The sentence.
    public let name: String
    /// The part of the contract it belongs to.
    public let group: String
    /// Features without which the case is skipped.
    public let needs: [Feature]
    /// Does it; throws `ConformanceFailure`, `ConformanceSkip`, or whatever the backend throws, which is a failure too.
    public let run: @Sendable (Context) async throws -> Void

    /// States a case.
    public init(
        _ group: String, _ name: String, needs: [Feature] = [], run: @escaping @Sendable (Context) async throws -> Void
    ) {
        self.name = name
        self.group = group
        self.needs = needs
        self.run = run
    }
}

/// A sentence that does not hold.
public struct ConformanceFailure: Error, CustomStringConvertible {
    /// What was seen instead.
    public let description: String
    /// Says what was seen instead.
    public init(_ description: String) { self.description = description }
}

/// A case that cannot be decided here, and why.
public struct ConformanceSkip: Error, CustomStringConvertible {
    /// The reason.
    public let description: String
    /// Says the reason.
    public init(_ description: String) { self.description = description }
}

/// What became of a case.
public struct CaseResult: Sendable {
    /// The case's group and sentence.
    public let name: String
    /// How it ended.
    public let outcome: Outcome
    /// How long it took.
    public let duration: Duration

    /// How a case ends.
    public enum Outcome: Sendable, Hashable {
        /// The sentence holds.
        case passed
        /// It does not, and what was seen instead.
        case failed(String)
        /// It was not tried, and why.
        case skipped(String)
    }
}

// MARK: - What cases say

func expect(_ holds: Bool, _ otherwise: @autoclosure () -> String) throws {
    guard holds else { throw ConformanceFailure(otherwise()) }
}

func expectEqual<Value: Equatable>(_ seen: Value, _ wanted: Value, _ what: String) throws {
    guard seen == wanted else {
        throw ConformanceFailure("\(what): wanted \(short(wanted)), got \(short(seen))")
    }
}

/// Runs `body`, which must throw a `BackendError` with one of the codes.
@discardableResult
func expectError<Value>(
    _ codes: BackendError.Code..., from what: String, isolation: isolated (any Actor)? = #isolation,
    _ body: () async throws -> Value
) async throws -> BackendError {
    let wanted = codes.map(\.rawValue).joined(separator: " or ")
    do {
        _ = try await body()
    } catch let error as BackendError {
        guard codes.contains(error.code) else { throw ConformanceFailure("\(what): wanted \(wanted), got \(error)") }
        guard !error.message.isEmpty else { throw ConformanceFailure("\(what): the error says nothing") }
        return error
    } catch {
        throw ConformanceFailure("\(what): wanted a BackendError, got \(type(of: error)): \(error)")
    }
    throw ConformanceFailure("\(what): wanted \(wanted), but it went well")
}

/// Unwraps something that has to be there.
func required<Value>(_ value: Value?, _ what: String) throws -> Value {
    guard let value else { throw ConformanceFailure("\(what) is missing") }
    return value
}

/// Asks again and again until the answer is yes, for what a backend may do a little later.
func eventually(_ what: String, within limit: Duration = .seconds(20), _ check: () async throws -> Bool) async throws {
    let clock = ContinuousClock()
    let end = clock.now + limit
    // On a slow host the questions themselves would hold up what is waited for.
    var pause = Duration.milliseconds(10)
    while true {
        if try await check() { return }
        guard clock.now < end else { throw ConformanceFailure("\(what) did not happen within \(limit.inSeconds) s") }
        pause = min(pause * 2, .milliseconds(640))
        try await Task.sleep(for: pause)
    }
}

private func short(_ value: some Equatable) -> String {
    let text = "\(value)"
    return text.count > 300 ? text.prefix(300) + "…" : text
}
