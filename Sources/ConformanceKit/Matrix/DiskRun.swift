import Abstractions
import Host

/// All disk cases over all formats of one backend.
struct DiskRun {
    let settings: ConformanceSettings
    let folder: HostPath
    let make: @Sendable () async throws -> any DiskAccess
    let tell: @Sendable (CaseResult) -> Void

    /// Groups that look at what an image is made of; they run once for every format.
    private static let formatGroups: Set<String> = ["images", "volumes", "commits"]

    func all() async throws -> [CaseResult] {
        let backend = try await make()
        do {
            let results = try await all(backend)
            await backend.close()
            return results
        } catch {
            await backend.close()
            throw error
        }
    }

    private func all(_ backend: any DiskAccess) async throws -> [CaseResult] {
        let info = try await backend.info()
        try ConformanceSuite.checkUsable(try await backend.check(.presence))
        let kinds = DiskFixture.kinds.filter { info.formats.contains($0.format) }
        guard !kinds.isEmpty else {
            throw ConformanceSkip("nobody can make images of its formats, \(info.formats.map(\.rawValue))")
        }
        var results: [CaseResult] = []
        for (number, kind) in kinds.enumerated() {
            let name = DiskFixture(format: kind.format, isLayer: kind.isLayer, folder: folder).name
            let masters = settings.folder.appending("masters-\(name)")
            try HostFiles.makeDirectories(masters)
            let place = folder.appending(name)
            try HostFiles.makeDirectories(place)
            let fixture = DiskFixture(format: kind.format, isLayer: kind.isLayer, folder: masters)
            let cell = DiskCell(make, backend, info: info, fixture: fixture, folder: place)
            results += await run(cell, place, isFirst: number == 0)
            await cell.discard()
            if settings.stopsAtFailure, results.contains(where: { $0.outcome.isFailure }) { break }
        }
        return results
    }

    private func run(_ cell: DiskCell, _ place: HostPath, isFirst: Bool) async -> [CaseResult] {
        var results: [CaseResult] = []
        for (number, test) in DiskCases.all.enumerated() where ConformanceSuite.admits(test, settings.filter) {
            guard isFirst || Self.formatGroups.contains(test.group) else { continue }
            let name = "\(cell.fixture.name): \(test.group): \(test.name)"
            var result: CaseResult
            if let objection = ConformanceSuite.objection(test, cell.info.features) {
                result = CaseResult(name: name, outcome: .skipped(objection), duration: .zero)
            } else {
                let scratch = place.appending("case-\(number)")
                try? HostFiles.makeDirectories(scratch)
                let context = DiskContext(cell: cell, folder: scratch)
                result = await ConformanceSuite.run(test, named: name, context, limit: settings.caseLimit)
                if result.outcome.isFailure { await cell.discard() }
                try? HostFiles.removeTree(scratch)
            }
            tell(result)
            results.append(result)
            if settings.stopsAtFailure, result.outcome.isFailure { break }
        }
        return results
    }
}

extension CaseResult.Outcome {
    var isFailure: Bool { if case .failed = self { true } else { false } }
}
