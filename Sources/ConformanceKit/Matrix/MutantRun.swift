import Abstractions
import Host

/// Tests the suite itself: a backend with a fault switched on must fail.
public enum MutantRun {
    /// What became of one fault.
    public struct Verdict: Sendable {
        /// The backend's kind and the fault's name.
        public let name: String
        /// The first case that noticed and what it saw; nil when none did.
        public let caughtBy: (name: String, reason: String)?
    }

    /// Switches on each choice of the option `fault`, one after another.
    ///
    /// The backend without a fault runs first and has to pass: else everything would catch everything.
    /// - Parameter print: gets a line for each fault and the closing line `mutants: N of N caught`.
    /// - Returns: whether all were caught.
    public static func run(
        _ cells: [ConformanceCell], _ settings: ConformanceSettings, print: @Sendable (String) -> Void
    ) async -> Bool {
        var settings = settings
        settings.stopsAtFailure = true
        var caught = 0
        var all = 0
        for cell in cells {
            let sound = await ConformanceSuite.run(cell, settings)
            if let failure = sound.failures.first {
                print("failed: \(cell.name) without a fault: \(failure.name): \(failure.reason)")
                return false
            }
            for fault in cell.descriptor.options.first(where: { $0.name == "fault" })?.choices ?? [] {
                let verdict = await run(cell, fault: fault, settings)
                all += 1
                if let by = verdict.caughtBy {
                    caught += 1
                    print("caught  \(verdict.name.padded(to: 44)) by: \(by.name)")
                } else {
                    print("MISSED  \(verdict.name)")
                }
            }
        }
        print("mutants: \(caught) of \(all) caught")
        return caught == all && all > 0
    }

    private static func run(_ cell: ConformanceCell, fault: String, _ settings: ConformanceSettings) async -> Verdict {
        var options = cell.options
        options["fault"] = fault
        let mutant = ConformanceCell(cell.descriptor, cell.isolation, options: options)
        let report = await ConformanceSuite.run(mutant, settings)
        return Verdict(name: "\(cell.descriptor.kind.rawValue) \(fault)", caughtBy: report.failures.first)
    }
}
