import Abstractions
import Host

/// A layer below the top one: never written to.
struct Layer: Sendable {
    let path: HostPath
    let file: any ImageFile
    let layout: any ImageLayout
}

extension VirtualDisk {
    /// Whether the image has layers below it.
    public var isLayer: Bool { !parents.isEmpty }

    /// A chain that is deeper is damaged or made to hurt.
    static let mostLayers = 256

    /// Bytes in one of the chain's files.
    struct Source {
        var file: any ImageFile
        var place: Int64
    }

    /// Opens all layers below an image, nearest first, and checks that they are what their children were made on.
    ///
    /// - Throws: `notFound` for a parent that is in none of the folders; `corrupt` for several of which none fits, a loop, or too
    ///   many layers; `inUse` for one that somebody may write to.
    static func openParents(of image: DiskImage, _ layout: any ImageLayout) throws -> [Layer] {
        guard var links = layout.links, links.parent != nil else { return [] }
        var search = LayerSearch(around: image)
        var layers: [Layer] = []
        var (child, seen) = (image.path, Set([links.uuid]))
        while let link = links.parent {
            guard layers.count + 1 < mostLayers else {
                throw damaged("the chain of \(image.path) has more than \(mostLayers) layers")
            }
            guard seen.insert(link.uuid).inserted else {
                throw damaged("the chain of \(image.path) is a loop: \(child) names a layer above it, \(link.uuid)")
            }
            let (layer, found) = try openParent(link, of: image.at(child), &search)
            layers.append(layer)
            search.extend(around: layer.path)
            (child, links) = (layer.path, found)
        }
        if image.forceStale != true { try ImageLock.refuseVirtualBox(layers.map(\.path), .readOnly) }
        return layers
    }

    private static func openParent(
        _ link: ParentLink, of child: DiskImage, _ search: inout LayerSearch
    ) throws -> (Layer, LayerLinks) {
        let known = try KnownFormat.readable(child)
        var others: [(layer: Layer, links: LayerLinks)] = []
        for entry in search.images(named: link) {
            let file = try openToRead(child.at(entry.path))
            guard let layout = try known.layout?(file), let links = layout.links, links.uuid == link.uuid else {
                continue
            }
            let layer = Layer(path: entry.path, file: file, layout: layout)
            if fits(link, links) { return (layer, links) }
            others.append((layer, links))
        }
        // VirtualBox never looks at the modification, and leaves an old one behind when it merges a snapshot: alone it proves
        // nothing, but of two copies with one uuid it would tell the right one.
        if let only = others.first, others.count == 1 { return only }
        guard others.isEmpty else {
            throw damaged(
                "\(others.map(\.layer.path.string).joined(separator: " and ")) have the uuid \(link.uuid), and none is as it was "
                    + "when the snapshot layer \(child.path) was made on it; keep the right one alone")
        }
        throw BackendError(
            .notFound, "disk.open",
            "the parent \(link.uuid) of the snapshot layer \(child.path) is in none of the folders "
                + search.folders.map(\.string).joined(separator: ", ")
                + "; bring it there, or name its folder with --parent-folder", blame: .disk)
    }

    private static func fits(_ link: ParentLink, _ parent: LayerLinks) -> Bool {
        guard let wanted = link.modification, let found = parent.modification else { return true }
        return wanted == found
    }

    /// What a person should know of layers that were made on another state of their parent: words for each.
    public var doubts: [String] {
        let chain = [(path: image.path, links: layout.links)] + parents.map { (path: $0.path, links: $0.layout.links) }
        return zip(chain, chain.dropFirst()).compactMap { child, parent in
            guard let link = child.links?.parent, let links = parent.links, !VirtualDisk.fits(link, links) else {
                return nil
            }
            return
                "\(child.path) was made on another state of \(parent.path): VirtualBox merged a snapshot, which is fine, "
                + "or somebody changed the parent, and what the layer shows is damaged"
        }
    }

    private static func damaged(_ what: String) -> BackendError {
        BackendError(.corrupt, "disk.open", what, blame: .disk)
    }

    /// A layer must stay as it is while others are made on it.
    ///
    /// - Throws: `invalidState` that names one of them.
    static func refuseParent(_ image: DiskImage, _ layout: any ImageLayout) throws {
        guard let links = layout.links else { return }
        guard let child = LayerSearch(around: image).children(of: links.uuid).first else { return }
        throw BackendError(
            .invalidState, "disk.open",
            "\(image.path) is the parent of the snapshot layer \(child.path), which a change of it would destroy; "
                + "write to the layer, or to a copy of the image in a folder of its own", blame: .caller)
    }

    /// Where bytes of the disk are, nil when they are zero, and how many of them are there in one piece.
    func source(_ top: any ImageLayout, _ offset: Int64) throws -> (source: Source?, count: Int64) {
        let (place, count) = try top.locate(offset)
        switch place {
        case .file(let start): return (Source(file: file, place: start), count)
        case .zero: return (nil, count)
        case .parent:
            let (source, theirs) = try inherited(offset)
            return (source, min(count, theirs))
        }
    }

    /// The same for the disk without its top layer.
    func inherited(_ offset: Int64) throws -> (source: Source?, count: Int64) {
        var count = Int64.max
        for layer in parents {
            // A disk may be larger than the one it was made on.
            guard offset < layer.layout.size else { break }
            let (place, theirs) = try layer.layout.locate(offset)
            count = min(count, theirs)
            switch place {
            case .file(let start): return (Source(file: layer.file, place: start), count)
            case .zero: return (nil, count)
            case .parent: continue
            }
        }
        return (nil, count)
    }
}
