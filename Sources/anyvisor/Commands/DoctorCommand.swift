import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import Runner

/// `anyvisor doctor`: what works here, and the fix for the rest.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Says which backends work here and what to do about the rest.",
        discussion: """
            Example: anyvisor doctor --proof
            Without --proof it looks whether the pieces are there; with it each backend does its work once: a disk backend
            with a new image, a hypervisor with a boot sector and the kernel of image `tiny`, which is built when it is missing.
            What a hypervisor shows then is what `anyvisor run` goes by, until this host boots again.
            "cannot be here": no command on this host cures it.
            Ends with 16 when no hypervisor or no disk backend works.
            """)
    @Flag(help: "Do the real thing once with each backend.") var proof = false
    @Flag(help: "Print JSON.") var json = false

    private struct Row: Encodable {
        var backend: String
        var kind: BackendKind
        var works: Bool
        /// Whether it works or could be made to work on this host.
        var isPossible: Bool
        var milliseconds: Int64
        var findings: [Finding]

        init(_ descriptor: BackendDescriptor, _ findings: [Finding], in time: Duration) {
            backend = descriptor.name
            kind = descriptor.kind
            works = !findings.contains { $0.isObstacle }
            isPossible = !findings.contains { $0.status == .impossible }
            milliseconds = time.milliseconds
            self.findings = findings
        }

        var verdict: String { works ? "yes" : isPossible ? "no" : "cannot be here" }
    }

    func run() async throws {
        let depth: CheckDepth = proof ? .proof : .presence
        let allowance: Duration = proof ? .seconds(90) : .seconds(20)
        let rows = try await CommandScope.run { _ in
            let catalogue = try Catalogue.all()
            let image = proof ? await self.proofImage() : nil
            var rows: [Row] = []
            for descriptor in catalogue.registry.descriptors {
                let started = ContinuousClock.now
                let findings = await CallDeadline.$current.withValue(started + allowance) {
                    await self.findings(descriptor, catalogue, depth, image)
                }
                let row = Row(descriptor, findings, in: .now - started)
                rows.append(row)
                if proof {
                    await TrackRecord.note(descriptor, catalogue) {
                        $0.proof = .init(works: row.works, milliseconds: row.milliseconds, seconds: TrackRecord.now)
                    }
                }
            }
            return rows
        }
        if json { try Terminal.json(rows) } else { show(rows) }
        let missing = BackendKind.allCases.filter { kind in !rows.contains { $0.kind == kind && $0.works } }
        if let kind = missing.first {
            throw BackendError(.unavailable, "doctor", "no \(kind.rawValue) backend works here; see the remedies above")
        }
    }

    private func show(_ rows: [Row]) {
        var lines = [["backend", "kind", "works", "time", "found", "remedy"]]
        for row in rows {
            for (index, finding) in row.findings.enumerated() {
                let head =
                    index == 0
                    ? [row.backend, row.kind.rawValue, row.verdict, "\(row.milliseconds) ms"]
                    : ["", "", "", ""]
                lines.append(head + ["\(finding.subject): \(finding.detail)", finding.remedy ?? ""])
            }
        }
        Terminal.table(lines)
    }

    /// The image whose kernel hypervisors boot to prove themselves; nil when it cannot be had, which is told.
    private func proofImage() async -> GuestImage? {
        do {
            return try GuestImage(folder: try await ImageStore.load().built("tiny").folder)
        } catch {
            Terminal.talk("doctor: no kernel to boot: \(BackendError.wrapping(error, "doctor").message)")
            return nil
        }
    }

    private func findings(
        _ descriptor: BackendDescriptor, _ catalogue: Catalogue, _ depth: CheckDepth, _ image: GuestImage?
    ) async -> [Finding] {
        do {
            switch descriptor.kind {
            case .hypervisor:
                let image = descriptor.options.contains { $0.name == "proofImage" } ? image : nil
                let options = image?.folder.map { ["proofImage": $0.string] } ?? [:]
                let backend = try await catalogue.hypervisor(descriptor.name, options: options)
                let answer = await checked { try await backend.check(depth) }
                if let image, let info = try? await backend.info() {
                    ProofCache(cache: HostEnvironment.cache) { _ in }.keep(answer, of: info, image)
                }
                await backend.close()
                return answer
            case .disk:
                let backend = try await catalogue.disk(descriptor.name)
                let answer = await checked { try await backend.check(depth) }
                await backend.close()
                return answer
            }
        } catch {
            return [Finding(descriptor.name, .bad, BackendError.wrapping(error, "check").message)]
        }
    }

    private func checked(_ body: () async throws -> [Finding]) async -> [Finding] {
        do {
            return try await body()
        } catch {
            return [Finding("check", .bad, BackendError.wrapping(error, "check").message)]
        }
    }
}
