import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import VirtualDisk

/// `anyvisor disk info IMAGE`.
struct DiskInfo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Shows an image's format, its snapshot layers as a tree, and its volumes.",
        discussion: "Example: anyvisor disk info machine.vdi")
    @Argument(help: "The disk image.") var image: String
    @OptionGroup var options: DiskOptions

    private struct Answer: Encodable {
        var path: HostPath
        var format: ImageFormat
        var layers: LayerTree?
        var volumes: [Volume]
    }

    func run() async throws {
        let named = try options.image(image)
        let (layers, doubts) = try await layers(of: named)
        let volumes = try await options.withDisk(image) { disk, log in
            try await disk.withSession(.readOnly, log) { try await $0.volumes() }
        }
        for doubt in doubts { Terminal.talk("note: \(doubt)") }
        if options.json {
            return try Terminal.json(
                Answer(path: named.path, format: named.format, layers: layers, volumes: volumes))
        }
        Terminal.say("\(named.path): \(named.format)")
        if let layers, layers.uuid != nil || !layers.children.isEmpty { show(layers) }
        let rows = volumes.map {
            ["\($0.id)", $0.fileSystem ?? "-", "\($0.size)", "\($0.offset.bytes)", $0.label ?? "-"]
        }
        Terminal.table([["volume", "type", "size", "offset", "label"]] + rows)
    }

    private func layers(of image: DiskImage) async throws -> (LayerTree?, doubts: [String]) {
        guard VirtualDisk.formats.contains(image.format) else { return (nil, []) }
        return try await onOwnThread {
            Result {
                let disk = try VirtualDisk.open(image, .readOnly)
                return (disk.tree(), disk.doubts)
            }
        }.get()
    }

    /// A line for each layer, those that lie on another one below it.
    private func show(_ base: LayerTree) {
        var rows = [["layer", "kind", "size", "in file", "uuid"]]
        let folder = base.path.parent.string + "/"
        func add(_ layer: LayerTree, _ lead: String, _ below: String) {
            let path = layer.path.string
            let name = path.hasPrefix(folder) ? String(path.dropFirst(folder.count)) : path
            rows.append([
                lead + name + (layer.isImage ? " *" : ""), layer.variant ?? layer.format.rawValue,
                layer.size.map { "\($0)" } ?? "-",
                "\(layer.fileSize)", layer.uuid ?? "-",
            ])
            for (number, child) in layer.children.enumerated() {
                let isLast = number == layer.children.count - 1
                add(child, below + (isLast ? "└─ " : "├─ "), below + (isLast ? "   " : "│  "))
            }
        }
        add(base, "", "")
        Terminal.table(rows)
        Terminal.say("")
    }
}
