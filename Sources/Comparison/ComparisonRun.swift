import Abstractions
import Host
import Statistics

/// Measures block after block into a folder, from its beginning or from where a run that was killed had come to.
public struct ComparisonRun {
    /// What happens, for a live view.
    public enum Event: Sendable {
        /// A cell of a block is measured now.
        case measuring(block: Int, of: Int, cell: String)
        /// It was.
        case measured(Sample)
        /// A block is whole: the pairs of the chosen quantity so far.
        case intervals([Summary.Pair])
    }

    private let folder: HostPath
    private let design: Design
    private let experiment: any Experiment
    private let versions: [String: String]
    private let observer: @Sendable (Event) -> Void

    /// - Parameters:
    ///   - folder: the comparison's folder; is made when it is missing.
    ///   - versions: of what takes part in every measurement, by name.
    ///   - observer: must return at once.
    public init(
        _ design: Design, of experiment: any Experiment, in folder: HostPath, versions: [String: String],
        observer: @escaping @Sendable (Event) -> Void
    ) {
        self.design = design
        self.experiment = experiment
        self.folder = folder
        self.versions = versions
        self.observer = observer
    }

    /// Measures until there are enough blocks.
    ///
    /// - Throws: `invalidArgument` when the folder holds another comparison, `CancellationError` with all samples so far in the
    ///   folder, what the host says.
    public func run() async throws {
        try HostFiles.makeDirectories(folder)
        let log = try RawLog(in: folder)
        if let first = log.lines.first {
            guard first.design == design else {
                throw BackendError(
                    .invalidArgument, "compare",
                    "\(folder) holds another comparison, name another folder with --report",
                    blame: .caller)
            }
        } else {
            try log.add(RawLine(design: design))
        }
        var facts = (versions: versions, images: [String: String]())
        try log.add(RawLine(environment: .now()))
        var next = design.warmUpBlocks + StoppingRule.least
        for block in 0..<(design.warmUpBlocks + design.blocks) {
            let isNew = try await measure(block, into: log, &facts)
            let analysis = Analysis(design, log.lines.compactMap(\.sample).filter { $0.block <= block })
            if isNew { observer(.intervals(analysis.pairs(of: design.quantity))) }
            guard design.halfWidth != nil, block + 1 == next else { continue }
            guard let look = analysis.nextLook() else { break }
            next = design.warmUpBlocks + look
        }
        let findings = try Differential(design, log.lines.compactMap(\.sample), experiment).findings(in: folder)
        try log.add(RawLine(findings: findings))
        try log.add(RawLine(environment: .now(versions: facts.versions, images: facts.images)))
    }

    /// - Returns: whether anything of it was still to be measured.
    private func measure(
        _ block: Int, into log: RawLog, _ facts: inout (versions: [String: String], images: [String: String])
    ) async throws -> Bool {
        var isNew = false
        for (place, cell) in design.order(ofBlock: block).enumerated() {
            if log.lines.contains(where: { $0.sample?.block == block && $0.sample?.place == place }) { continue }
            try Task.checkCancellation()
            observer(.measuring(block: block, of: design.warmUpBlocks + design.blocks, cell: cell.name))
            let name = "runs/\(Self.digits(block))-\(place)"
            let target = folder.appending(name)
            // What a run that was killed left: its sample is not in the log.
            try HostFiles.removeTree(target)
            try HostFiles.makeDirectories(target.parent)
            let (startedMs, load, steal) = (WallClock.now, HostFacts.loads.first ?? 0, HostFacts.steal)
            let begin = ContinuousClock.now
            let measured = await experiment.measure(cell, into: target)
            try Task.checkCancellation()
            facts.versions.merge(measured.versions) { $1 }
            facts.images.merge(measured.images) { $1 }
            let sample = Sample(
                block: block, place: place, cell: cell.name, isWarmUp: block < design.warmUpBlocks,
                isGood: measured.why == nil, why: measured.why, startedMs: startedMs,
                ms: begin.duration(to: .now).milliseconds, load: load,
                steal: HostFacts.steal - steal, values: measured.values,
                folder: HostFiles.exists(target) ? name : nil)
            try log.add(RawLine(sample: sample))
            observer(.measured(sample))
            isNew = true
        }
        return isNew
    }

    private static func digits(_ block: Int) -> String {
        let text = "\(block)"
        return String(repeating: "0", count: max(0, 3 - text.count)) + text
    }
}
