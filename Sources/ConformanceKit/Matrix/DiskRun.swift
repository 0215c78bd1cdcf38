import Abstractions
import Host

/// The disk cases over the kinds of images of one backend.
struct DiskRun {
    let settings: ConformanceSettings
    let folder: HostPath
    let make: @Sendable () async throws -> any DiskAccess
    let tell: @Sendable (CaseResult) -> Void

    /// Groups that look at what an image is made of; they run over every kind of image.
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
        let kinds = try kinds(info)
        let masters = settings.folder.appending("masters")
        try HostFiles.makeDirectories(masters)
        var results: [CaseResult] = []
        for (number, kind) in kinds.enumerated() {
            let place = folder.appending(kind.name)
            try HostFiles.makeDirectories(place)
            let cell = DiskCell(
                make, backend, info: info, fixture: DiskFixture(kind: kind, folder: masters), folder: place)
            results += await run(cell, place, everything: settings.isFull || number == 0)
            await cell.discard()
            if settings.stopsAtFailure, results.contains(where: { $0.outcome.isFailure }) { break }
        }
        return results
    }

    /// The kinds of images that the backend has and the caller wants.
    private func kinds(_ info: DiskAccessInfo) throws -> [DiskKind] {
        let known = DiskKind.all.filter { info.formats.contains($0.format) }
        guard !known.isEmpty else {
            throw ConformanceSkip("nobody can make images of its formats, \(info.formats.map(\.rawValue))")
        }
        guard let wanted = settings.formats else { return known }
        let kinds = known.filter { wanted.contains($0.name) }
        guard !kinds.isEmpty else {
            throw ConformanceSkip("it has none of the formats \(wanted), but \(known.map(\.name))")
        }
        return kinds
    }

    private func run(_ cell: DiskCell, _ place: HostPath, everything: Bool) async -> [CaseResult] {
        var results: [CaseResult] = []
        for (number, test) in DiskCases.all.enumerated() where ConformanceSuite.admits(test, settings.filter) {
            guard everything || Self.formatGroups.contains(test.group) else { continue }
            let name = "\(cell.fixture.kind.name): \(test.group): \(test.name)"
            var result: CaseResult
            if let objection = objection(test, cell) {
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

    private func objection(_ test: ConformanceCase<DiskContext>, _ cell: DiskCell) -> String? {
        guard let objection = ConformanceSuite.objection(test, cell.features) else { return nil }
        guard ConformanceSuite.objection(test, cell.info.features) == nil else { return objection }
        return "\(objection): the backend declares that it only reads \(cell.fixture.format)"
    }
}

extension CaseResult.Outcome {
    var isFailure: Bool { if case .failed = self { true } else { false } }
}
