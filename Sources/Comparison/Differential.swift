import Abstractions
import Host

/// Compares the raw data of every cell, block by block, with that of the cell most others agree with: "differs only on xen".
struct Differential {
    private let samples: [Sample]
    private let cells: [Cell]
    private let experiment: any Experiment

    init(_ design: Design, _ samples: [Sample], _ experiment: any Experiment) {
        self.samples = samples.filter { $0.isGood && $0.folder != nil }
        cells = design.cells
        self.experiment = experiment
    }

    /// What differs, each once for a cell with the number of blocks in which it does.
    ///
    /// - Throws: what the host says about a file.
    func findings(in folder: HostPath) throws -> [Finding] {
        var found: [Finding] = []
        for (_, block) in Dictionary(grouping: samples, by: \.block).sorted(by: { $0.key < $1.key }) {
            for finding in try findings(ofBlock: block, in: folder) {
                let known = found.firstIndex { $0.cell == finding.cell && $0.what == finding.what }
                if let known { found[known].blocks += 1 } else { found.append(finding) }
            }
        }
        return found
    }

    private func findings(ofBlock block: [Sample], in folder: HostPath) throws -> [Finding] {
        let sorted = cells.compactMap { cell in block.first { $0.cell == cell.name } }
        var found: [[(Sample, [String])]] = []
        // The reference is the cell that the fewest others differ from, the first of these.
        for reference in sorted {
            let others = try sorted.filter { $0.cell != reference.cell }.map { other in
                (other, try differences(reference, other, folder))
            }
            found.append(others.filter { !$0.1.isEmpty })
            if found.last?.isEmpty == true { return [] }
        }
        guard let least = found.indices.min(by: { found[$0].count < found[$1].count }) else { return [] }
        return found[least].flatMap { other, differences in
            differences.map {
                Finding(
                    cell: other.cell, reference: sorted[least].cell, block: other.block, blocks: 1,
                    what: String($0.prefix(1000)))
            }
        }
    }

    private func differences(_ first: Sample, _ second: Sample, _ folder: HostPath) throws -> [String] {
        guard let one = first.folder, let two = second.folder else { return [] }
        return try experiment.differences(folder.appending(one), folder.appending(two))
    }
}
