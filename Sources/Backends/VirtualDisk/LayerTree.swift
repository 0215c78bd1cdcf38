import Abstractions
import Host

/// A layer and those that lie on it.
public struct LayerTree: Sendable, Encodable {
    /// Its file.
    public let path: HostPath
    /// Its format.
    public let format: ImageFormat
    /// `fixed`, `dynamic` or `differencing`; nil for a format with one kind, and for what was not opened.
    public let variant: String?
    /// Its uuid as VirtualBox prints it; nil for a format without.
    public let uuid: String?
    /// The bytes of its disk; nil for what was not opened.
    public let size: ByteCount?
    /// The bytes of its file.
    public let fileSize: ByteCount
    /// Whether it is the image that was asked for.
    public let isImage: Bool
    /// The layers on it, as far as they lie around the image.
    public let children: [LayerTree]
}

extension VirtualDisk {
    /// The whole tree that the image belongs to, from its base on; layers outside the image's own chain are not opened.
    public func tree() -> LayerTree {
        if layout is ForeignLayout, let tree = foreignTree() { return tree }
        var search = LayerSearch(around: image)
        for layer in parents { search.extend(around: layer.path) }
        let own = Layer(path: image.path, file: file, layout: layout)
        var chain = Array(([own] + parents).reversed())
        return node(chain.removeFirst(), chain[...], search)
    }

    /// A layer of the chain: on it lie the next one of the chain and others.
    private func node(_ layer: Layer, _ above: ArraySlice<Layer>, _ search: LayerSearch) -> LayerTree {
        let next = above.first.map { node($0, above.dropFirst(), search) }
        let uuid = layer.layout.links?.uuid
        var seen = Set(above.map(\.path) + [layer.path])
        let others = uuid.map { search.children(of: $0) } ?? []
        let children = (next.map { [$0] } ?? []) + others.compactMap { node($0, search, &seen) }
        return LayerTree(
            path: layer.path, format: image.format, variant: layer.layout.variant, uuid: uuid?.description,
            size: ByteCount(layer.layout.size), fileSize: ByteCount(HostFiles.size(layer.path) ?? 0),
            isImage: layer.path == image.path, children: children.sorted { $0.path.string < $1.path.string })
    }

    /// A layer beside the chain; nil for one that was met already, as in a loop.
    private func node(_ entry: LayerSearch.Entry, _ search: LayerSearch, _ seen: inout Set<HostPath>) -> LayerTree? {
        guard seen.count < VirtualDisk.mostLayers, seen.insert(entry.path).inserted else { return nil }
        let children = search.children(of: entry.links.uuid).compactMap { node($0, search, &seen) }
        return LayerTree(
            path: entry.path, format: image.format, variant: nil, uuid: entry.links.uuid.description, size: nil,
            fileSize: ByteCount(HostFiles.size(entry.path) ?? 0), isImage: false, children: children)
    }

    /// One of the layers of an image's tree.
    ///
    /// - Parameter name: its file, its file's name, or its uuid.
    /// - Throws: `notFound` that lists those that are there; `invalidArgument` for a file that is no layer of the image.
    public static func layer(_ name: String, of image: DiskImage) throws -> DiskImage {
        let image = resolved(image)
        var search = LayerSearch(around: image)
        let file = HostFiles.resolved(HostFiles.absolute(HostPath(name)))
        if let file { search.extend(around: file) }
        let uuid = name.lowercased().filter { $0 != "{" && $0 != "}" }
        guard
            let layer = search.entries.first(where: {
                $0.path == file || $0.path.name == name || $0.links.uuid.description == uuid
            })
        else {
            let names = search.entries.map { "\($0.path.name) (\($0.links.uuid))" }.joined(separator: ", ")
            throw BackendError(
                .notFound, "disk.open",
                "there is no layer '\(name)' around \(image.path); "
                    + (names.isEmpty ? "no layer at all is there" : "there are \(names)"), blame: .caller)
        }
        let own = search.entries.first { $0.path == image.path }
        guard let own, search.root(of: own) == search.root(of: layer) else {
            throw BackendError(
                .invalidArgument, "disk.open", "\(layer.path) is no layer of \(image.path); open it by itself",
                blame: .caller)
        }
        var chosen = image.at(layer.path)
        chosen.parentFolders = (image.parentFolders ?? []) + [image.path.parent]
        return chosen
    }
}

extension LayerSearch {
    /// The uuid at the bottom of an image's chain, as far as it is known here.
    func root(of entry: Entry) -> ImageUUID {
        var links = entry.links
        var seen: Set<ImageUUID> = [links.uuid]
        while let parent = links.parent?.uuid, seen.insert(parent).inserted {
            guard let below = entries.first(where: { $0.links.uuid == parent }) else { return parent }
            links = below.links
        }
        return links.uuid
    }
}
