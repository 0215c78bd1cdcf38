import Abstractions
import BackendSupport
import Host

/// Runs the cases of a protocol against a backend.
public enum ConformanceSuite {
    /// Runs one cell; a failing backend is a report, never a thrown error.
    ///
    /// - Parameter tell: gets every result as soon as it is there.
    public static func run(
        _ cell: ConformanceCell, _ settings: ConformanceSettings,
        tell: @escaping @Sendable (CaseResult) -> Void = { _ in }
    ) async -> CellReport {
        let clock = ContinuousClock()
        let start = clock.now
        let folder = settings.folder.appending(cell.name.split(separator: " ").joined(separator: "-"))
        defer { try? HostFiles.removeTree(folder) }
        func report(_ skipped: String?, _ results: [CaseResult] = []) -> CellReport {
            CellReport(name: cell.name, skipped: skipped, results: results, duration: clock.now - start)
        }
        do {
            try HostFiles.makeDirectories(folder)
            let values = try OptionValues(cell.options, declared: cell.descriptor.options)
            switch cell.descriptor.factory {
            case .disk(let make):
                let run = DiskRun(settings: settings, folder: folder, make: { try await make(values) }, tell: tell)
                return report(nil, try await run.all())
            case .hypervisor(let make):
                let run = HypervisorRun(
                    settings: settings, folder: folder, make: { try await make(values) }, tell: tell)
                return report(nil, try await run.all())
            }
        } catch let skip as ConformanceSkip {
            return report(skip.description)
        } catch {
            let known = BackendError.wrapping(error, "conformance")
            if known.code == .unavailable { return report(known.message) }
            let result = CaseResult(name: "the backend can be opened", outcome: .failed("\(known)"), duration: .zero)
            return report(nil, [result])
        }
    }

    /// Runs one case within its limit.
    static func run<Context>(
        _ test: ConformanceCase<Context>, named name: String, _ context: Context, limit: Duration
    ) async -> CaseResult {
        let clock = ContinuousClock()
        let start = clock.now
        let outcome: CaseResult.Outcome
        do {
            try await CallDeadline.$current.withValue(start + limit) {
                try await abandoning("the case") { finish in
                    Task {
                        do {
                            try await test.run(context)
                            finish(.success(()))
                        } catch {
                            finish(.failure(error))
                        }
                    }
                }
            }
            outcome = .passed
        } catch let skip as ConformanceSkip {
            outcome = .skipped(skip.description)
        } catch let failure as ConformanceFailure {
            outcome = .failed(failure.description)
        } catch {
            outcome = .failed("threw \(error)")
        }
        return CaseResult(name: name, outcome: outcome, duration: clock.now - start)
    }

    /// Throws a skip with the remedy when a backend says that it cannot work here.
    static func checkUsable(_ findings: [Finding]) throws {
        if let bad = findings.first(where: { $0.isObstacle }) {
            throw ConformanceSkip("\(bad.subject): \(bad.detail)" + (bad.remedy.map { "; \($0)" } ?? ""))
        }
    }

    /// Whether the filter lets a case through.
    static func admits<Context>(_ test: ConformanceCase<Context>, _ filter: String?) -> Bool {
        guard let filter else { return true }
        return test.name.contains(filter) || test.group.contains(filter)
    }

    /// Why a case cannot be tried with these features; nil when it can.
    static func objection<Context>(_ test: ConformanceCase<Context>, _ features: Set<Feature>) -> String? {
        let missing = test.needs.filter { !features.contains($0) }.map(\.rawValue)
        return missing.isEmpty ? nil : "needs " + missing.joined(separator: ", ")
    }
}
