import Abstractions
import AnyvisorKit
import ArgumentParser
import Host

/// `anyvisor backends`: what there is to choose from.
struct BackendsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backends", abstract: "Lists the hypervisor and disk backends and what one chooses them by.",
        discussion: """
            Example: anyvisor backends --json
            Features are proven when this version passed the whole conformance suite on this host (anyvisor conformance), else they \
            are what the backend declares. The time is that of its last proof (anyvisor doctor --proof).
            """)
    @Flag(help: "Print JSON.") var json = false

    private struct Row: Encodable {
        var name: String
        var kind: BackendKind
        var summary: String
        var hosts: [String]
        var guests: [String]
        var licence: String?
        var version: String?
        var formats: [ImageFormat]
        var readOnlyFormats: [ImageFormat] = []
        var features: [String]
        var shown: TrackRecord?
        var problem: String?

        /// Whether all that it declares held in the suite.
        var isProven: Bool { shown?.suite.map { $0.failed == 0 } ?? false }
    }

    func run() async throws {
        let rows = try await CommandScope.run { _ in
            let catalogue = try Catalogue.all()
            var rows: [Row] = []
            for descriptor in catalogue.registry.descriptors { rows.append(await row(descriptor, catalogue)) }
            return rows
        }
        if json { return try Terminal.json(rows) }
        let lines = rows.map { row in
            [
                row.name, row.kind.rawValue, row.version ?? "-", row.hosts.joined(separator: ", "),
                row.guests.joined(separator: ", "), formats(of: row), row.licence ?? "-",
                row.shown?.proof.map { $0.works ? "\($0.milliseconds) ms" : "fails" } ?? "-",
                row.problem ?? (row.isProven ? "proven: " : "declared: ") + row.features.joined(separator: " "),
            ]
        }
        Terminal.table(
            [["name", "kind", "version", "host", "guest", "formats", "licence", "proof", "features"]] + lines)
    }

    private func formats(of row: Row) -> String {
        row.formats.map { row.readOnlyFormats.contains($0) ? "\($0)(read)" : $0.rawValue }.joined(separator: " ")
    }

    private func row(_ descriptor: BackendDescriptor, _ catalogue: Catalogue) async -> Row {
        var row = Row(
            name: descriptor.name, kind: descriptor.kind, summary: descriptor.summary, hosts: descriptor.about.hosts,
            guests: descriptor.about.guests, licence: descriptor.about.licence, version: nil, formats: [],
            features: [], problem: nil)
        do {
            switch descriptor.kind {
            case .hypervisor:
                let backend = try await catalogue.hypervisor(descriptor.name)
                do {
                    let info = try await backend.info()
                    (row.version, row.formats) = (info.version, info.diskFormats)
                    row.features = info.features.map(\.rawValue).sorted()
                } catch {
                    row.problem = BackendError.wrapping(error, "info").message
                }
                await backend.close()
            case .disk:
                let backend = try await catalogue.disk(descriptor.name)
                do {
                    let info = try await backend.info()
                    (row.version, row.formats) = (info.version, info.formats)
                    row.readOnlyFormats = info.readOnlyFormats
                    row.features = info.features.map(\.rawValue).sorted()
                } catch {
                    row.problem = BackendError.wrapping(error, "info").message
                }
                await backend.close()
            }
        } catch {
            row.problem = BackendError.wrapping(error, "info").message
        }
        row.shown = row.version.flatMap { TrackRecord.of(descriptor, version: $0) }
        return row
    }
}
