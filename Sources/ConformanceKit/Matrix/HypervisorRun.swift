import Abstractions
import Host

/// All hypervisor cases against one backend.
struct HypervisorRun {
    let settings: ConformanceSettings
    let folder: HostPath
    let make: @Sendable () async throws -> any Hypervisor
    let tell: @Sendable (CaseResult) -> Void

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

    private func all(_ backend: any Hypervisor) async throws -> [CaseResult] {
        let info = try await backend.info()
        try ConformanceSuite.checkUsable(try await backend.check(.presence))
        if info.features.contains(.executesGuests), settings.guestFolder == nil {
            throw ConformanceSkip("the project's guest folder is not here, so no guest can be built")
        }
        let fixture = try await MachineFixture.make(info, guestFolder: settings.guestFolder, folder: folder)
        let owner = RunScope.current?.owner ?? OwnerTag("anyvisor-conformance-")
        var results: [CaseResult] = []
        for (number, test) in HypervisorCases.all.enumerated() where ConformanceSuite.admits(test, settings.filter) {
            let name = "\(test.group): \(test.name)"
            var result: CaseResult
            if let objection = ConformanceSuite.objection(test, info.features) {
                result = CaseResult(name: name, outcome: .skipped(objection), duration: .zero)
            } else {
                let scratch = folder.appending("case-\(number)")
                try? HostFiles.makeDirectories(scratch)
                let context = HypervisorContext(
                    make: make, backend: backend, info: info, fixture: fixture, folder: scratch,
                    owner: OwnerTag("\(owner.rawValue)c\(number)-"))
                result = await ConformanceSuite.run(test, named: name, context, limit: settings.caseLimit)
                await context.cleanUp()
                try? HostFiles.removeTree(scratch)
            }
            tell(result)
            results.append(result)
            if settings.stopsAtFailure, result.outcome.isFailure { break }
        }
        return results
    }
}
