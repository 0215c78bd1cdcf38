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
    /// - Throws: `notFound` for a parent that is in none of the folders; `corrupt` for one that was changed since, a loop, or too
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
            let (layer, found) = try openParent(link, of: child, image.format, &search)
            layers.append(layer)
            search.extend(around: layer.path)
            (child, links) = (layer.path, found)
        }
        return layers
    }

    private static func openParent(
        _ link: ParentLink, of child: HostPath, _ format: ImageFormat, _ search: inout LayerSearch
    ) throws -> (Layer, LayerLinks) {
        let known = try KnownFormat.readable(DiskImage(path: child, format: format))
        var changed: HostPath?
        for entry in search.images(named: link) {
            let file = try openToRead(entry.path)
            guard let layout = try known.layout?(file), let links = layout.links, links.uuid == link.uuid else {
                continue
            }
            if let wanted = link.modification, let found = links.modification, wanted != found {
                changed = changed ?? entry.path
                continue
            }
            return (Layer(path: entry.path, file: file, layout: layout), links)
        }
        if let changed {
            throw damaged(
                "\(changed) was changed after the snapshot layer \(child) was made on it, so the two no longer fit; "
                    + "bring back \(changed) as it was")
        }
        throw BackendError(
            .notFound, "disk.open",
            "the parent \(link.uuid) of the snapshot layer \(child) is in none of the folders "
                + search.folders.map(\.string).joined(separator: ", ")
                + "; bring it there, or name its folder with --parent-folder", blame: .disk)
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
