import Statistics

#if canImport(Glibc)
    import Glibc
#endif

/// `make stats-proof SEED=N`: counts how often the statistics of `anyvisor compare` are wrong, and how often they find what is there.
@main
struct StatsProof {
    static let trials = 2_000
    /// What is allowed where 5 of 100 should be called different: three standard deviations of so many trials to each side.
    static let nominal = 3.5...6.5
    /// What is allowed of intervals that should miss in 5 of 100; theirs miss in a little more.
    static let missing = 3.5...7.0

    static func main() async {
        let seed = CommandLine.arguments.dropFirst().first.map { UInt64($0) } ?? 1
        guard let seed else {
            let problem = "stats-proof: the seed must be a whole number from 0 to 2^64 - 1\n"
            _ = write(2, problem, problem.utf8.count)
            exit(2)
        }
        print(
            "Times of 1 s with noise of 2 % and an autoregression (0.8) of 1.2 %; \(trials) trials a row, seed \(seed).\n"
        )
        print("| comparison | drift | blocks | called different | interval without the true ratio |")
        print("|---|---|---|---|---|")
        var isGood = true
        for (number, row) in rows.enumerated() {
            let counted = await count(row.trial, seed: seed &+ UInt64(number) &* 1_000_003)
            let isRight = row.allowed.contains(counted.found) && missing.contains(counted.missed)
            isGood = isGood && isRight
            print(
                "| \(row.name) | \(Int((row.trial.model.drift * 100).rounded())) % | \(counted.blocks) "
                    + "| \(percent(counted.found)) | \(percent(counted.missed)) |"
                    + (isRight ? "" : " **not as it must be** |"))
            fflush(nil)
        }
        exit(isGood ? 0 : 1)
    }

    private static var rows: [(name: String, trial: Trial, allowed: ClosedRange<Double>)] {
        let drifts = [0, 0.02, 0.05]
        let same = drifts.map { drift in
            ("A and A, 20 blocks", Trial(model: NoiseModel(drift: drift), blocks: 20), nominal)
        }
        let until = drifts.map { drift in
            (
                "A and A, until ±1 %",
                Trial(model: NoiseModel(drift: drift), blocks: 400, rule: StoppingRule(target: 0.01)), nominal
            )
        }
        let different = drifts.map { drift in
            ("B takes 3 % more", Trial(model: NoiseModel(drift: drift), factor: 1.03, blocks: 20), 90.0...100)
        }
        let untilDifferent = (
            "B takes 10 % more, until ±1 %",
            Trial(model: NoiseModel(drift: 0.02), factor: 1.1, blocks: 400, rule: StoppingRule(target: 0.01)),
            90.0...100
        )
        return same + until + different + [untilDifferent]
    }

    private static func count(_ trial: Trial, seed: UInt64) async -> (found: Double, missed: Double, blocks: String) {
        let workers = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        return await withTaskGroup(of: [Trial.Verdict].self) { group in
            for worker in 0..<workers {
                group.addTask {
                    stride(from: worker, to: trials, by: workers).map { trial.run(seed: seed, number: $0) }
                }
            }
            let verdicts = await group.reduce(into: []) { $0 += $1 }
            func part(_ condition: (Trial.Verdict) -> Bool) -> Double {
                100 * Double(verdicts.count(where: condition)) / Double(trials)
            }
            let blocks = verdicts.map(\.blocks).sorted()
            let said = trial.rule == nil ? "\(blocks[0])" : "\(blocks[0]) to \(blocks[trials - 1])"
            return (part(\.finds), part(\.misses), said)
        }
    }

    private static func percent(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest) %"
    }
}
