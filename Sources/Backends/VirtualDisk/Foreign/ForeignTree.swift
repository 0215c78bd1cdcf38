import Abstractions
import Host

extension VirtualDisk {
    /// The chain below an image of one of QEMU's formats; which other images lie on its files is not known.
    func foreignTree() -> LayerTree? {
        guard let plan = try? ForeignPlan.make(image) else { return nil }
        var tree: LayerTree?
        for layer in plan.chain {
            tree = LayerTree(
                path: layer.path, format: layer.format, variant: nil, uuid: nil,
                size: layer.path == image.path ? ByteCount(content.size) : nil,
                fileSize: ByteCount(HostFiles.size(layer.path) ?? 0), isImage: layer.path == image.path,
                children: tree.map { [$0] } ?? [])
        }
        return tree
    }
}

extension ForeignPlan {
    /// The files of the layers, the image's own first.
    fileprivate var chain: [(path: HostPath, format: ImageFormat)] {
        var nodes = [node]
        while let next = nodes.last?.backing.first { nodes.append(next) }
        return nodes.map { ($0.file, ForeignTool.format($0.driver)) } + (below.first?.chain ?? [])
    }
}
