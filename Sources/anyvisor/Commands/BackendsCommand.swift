import Abstractions
import AnyvisorKit
import ArgumentParser
import Host

/// `anyvisor backends`: what there is to choose from.
struct BackendsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backends", abstract: "Lists the hypervisor and disk backends and what each can do.",
        discussion: "Example: anyvisor backends --json")
    @Flag(help: "Print JSON.") var json = false

    private struct Row: Encodable {
        var name: String
        var kind: BackendKind
        var summary: String
        var version: String?
        var formats: [ImageFormat]
        var readOnlyFormats: [ImageFormat] = []
        var features: [String]
        var problem: String?
    }

    func run() async throws {
        let rows = try await CommandScope.run { _ in
            let catalogue = try Catalogue.load()
            var rows: [Row] = []
            for descriptor in catalogue.registry.descriptors { rows.append(await row(descriptor, catalogue)) }
            return rows
        }
        if json { return try Terminal.json(rows) }
        let lines = rows.map { row in
            [
                row.name, row.kind.rawValue, row.version ?? "-", formats(of: row),
                row.problem ?? row.features.joined(separator: " "),
            ]
        }
        Terminal.table([["name", "kind", "version", "formats", "features"]] + lines)
    }

    private func formats(of row: Row) -> String {
        row.formats.map { row.readOnlyFormats.contains($0) ? "\($0)(read)" : $0.rawValue }.joined(separator: " ")
    }

    private func row(_ descriptor: BackendDescriptor, _ catalogue: Catalogue) async -> Row {
        var row = Row(
            name: descriptor.name, kind: descriptor.kind, summary: descriptor.summary, version: nil, formats: [],
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
        return row
    }
}
