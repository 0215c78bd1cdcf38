import Abstractions
import Host
import Synchronization
import Testing

@testable import Comparison

/// An experiment that measures nothing real, for what may go wrong around it.
final class MadeExperiment: Experiment {
    let measured = Mutex<[String]>([])
    /// After so many measurements the task that measures is cancelled.
    private let most: Int
    private let text: @Sendable (Cell) -> String

    init(most: Int = .max, text: @escaping @Sendable (Cell) -> String = { _ in "same" }) {
        self.most = most
        self.text = text
    }

    func measure(_ cell: Cell, into folder: HostPath) async -> Measurement {
        let count = measured.withLock { measured in
            measured.append(cell.name)
            return measured.count
        }
        if count > most { withUnsafeCurrentTask { $0?.cancel() } }
        try? HostFiles.makeDirectories(folder)
        try? HostFiles.write(Array(text(cell).utf8), to: folder.appending("data"))
        var measurement = Measurement()
        measurement.values = ["total": Quantity((cell.name == "a" ? 1 : 2) + Double(count % 5) / 100, "s")]
        return measurement
    }

    func differences(_ first: HostPath, _ second: HostPath) throws -> [String] {
        let texts = try [first, second].map { try HostFiles.readText($0.appending("data")) }
        return texts[0] == texts[1] ? [] : ["'\(texts[0])', '\(texts[1])'"]
    }

    func close() async {}
}

@Suite("Measuring") final class ComparisonRunTests: Sendable {
    private let folder: HostPath

    init() throws {
        folder = HostPath("/tmp/anyvisor-comparison-\(UInt32.random(in: 0 ... .max))")
        try HostFiles.makeDirectories(folder)
    }

    deinit { try? HostFiles.removeTree(folder) }

    private func run(_ experiment: MadeExperiment, _ design: Design = Made.design()) async throws {
        try await ComparisonRun(design, of: experiment, in: folder, versions: [:]) { _ in }.run()
    }

    private var samples: [Sample] { get throws { try RawLog.read(in: folder).compactMap(\.sample) } }

    @Test func `every cell is measured once in every block`() async throws {
        try await run(MadeExperiment())
        let found = try samples
        #expect(found.count == 26 && found.count(where: \.isWarmUp) == 2)
        #expect(Set(found.map { "\($0.block) \($0.cell)" }).count == 26)
    }

    @Test(arguments: [1, 2, 7, 25])
    func `what was interrupted goes on, and no sample is lost or doubled`(most: Int) async throws {
        let first = MadeExperiment(most: most)
        await #expect(throws: CancellationError.self) {
            try await Task { try await self.run(first) }.value
        }
        #expect(try samples.count == most)
        try await run(MadeExperiment())
        let found = try samples
        #expect(found.count == 26 && Set(found.map { "\($0.block) \($0.place) \($0.cell)" }).count == 26)
    }

    @Test func `a line that a killed process left half is dropped, and its sample measured again`() async throws {
        try await run(MadeExperiment())
        let path = folder.appending("raw.jsonl")
        let whole = try HostFiles.readText(path)
        let lines = whole.split(separator: "\n").prefix(10)
        try HostFiles.write(Array((lines.joined(separator: "\n") + "\n" + "{\"sample\":{\"blo").utf8), to: path)
        try await run(MadeExperiment())
        let found = try samples
        #expect(found.count == 26 && Set(found.map { "\($0.block) \($0.place) \($0.cell)" }).count == 26)
    }

    @Test func `another comparison in the folder is left alone`() async throws {
        try await run(MadeExperiment())
        let before = try HostFiles.read(folder.appending("raw.jsonl"))
        await #expect(throws: BackendError.self) { try await self.run(MadeExperiment(), Made.design(blocks: 13)) }
        #expect(try HostFiles.read(folder.appending("raw.jsonl")) == before)
    }

    @Test func `two processes do not measure into one folder`() async throws {
        let log = try RawLog(in: folder)
        defer { withExtendedLifetime(log) {} }
        await #expect { try await self.run(MadeExperiment()) } throws: { ($0 as? BackendError)?.code == .inUse }
    }

    @Test func `the same raw data gives the same summary, byte for byte`() async throws {
        try await run(MadeExperiment())
        let place = ComparisonFolder(folder)
        _ = try await place.write()
        let first = try HostFiles.read(folder.appending("summary.json"))
        _ = try await place.write()
        #expect(try HostFiles.read(folder.appending("summary.json")) == first)
    }

    @Test func `raw data that differs on one cell is a finding, with both sides`() async throws {
        let design = Made.design(blocks: 3, cells: ["a", "b", "c"])
        try await run(MadeExperiment { $0.name == "c" ? "other" : "same" }, design)
        let findings = try ComparisonFolder(folder).summary().findings
        #expect(findings.map(\.cell) == ["c"])
        #expect(findings.first?.blocks == 4 && findings.first?.what == "'same', 'other'")
    }

    @Test func `narrow intervals end it, at twenty blocks at the earliest`() async throws {
        try await run(MadeExperiment(), Made.design(blocks: 200, halfWidth: 0.2))
        #expect(try ComparisonFolder(folder).summary().blocks == 20)
    }

    @Test func `every number of the report is in the summary`() async throws {
        try await run(MadeExperiment())
        _ = try await ComparisonFolder(folder).write()
        let report = try HostFiles.readText(folder.appending("report.html"))
        let summary = try HostFiles.readText(folder.appending("summary.json"))
        #expect(ReportNumbers.missing(from: summary, in: report) == [])
        #expect(ReportNumbers.missing(from: "{}", in: report) != [])
    }
}
