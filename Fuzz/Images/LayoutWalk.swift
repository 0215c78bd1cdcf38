import Abstractions
import FuzzDriver

@testable import VirtualDisk

/// Checks that a layout which was accepted keeps its promises, whatever the header says.
enum LayoutWalk {
    /// Most places looked at: an image of 64 TiB must not take longer than one of 1 MiB.
    private static let places = 64

    static func check(_ layout: any ImageLayout, of image: PatchedImage) throws {
        try check(opened: layout, of: image)
    }

    private static func check<Layout: ImageLayout>(opened layout: Layout, of image: PatchedImage) throws {
        demand(layout.size > 0, "a disk of \(layout.size) bytes")
        let step = max(512, layout.size / Int64(places) / 512 * 512)
        for offset in stride(from: 0, to: layout.size, by: Int(step)) { try check(layout, offset, image) }
        try check(layout, layout.size - 1, image)
        try write(layout, at: 0, image)
        try write(layout, at: layout.size - min(layout.size, 512), image)
    }

    private static func check<Layout: ImageLayout>(
        _ layout: Layout, _ offset: Int64, _ image: PatchedImage
    ) throws {
        let (place, count) = try layout.locate(offset)
        demand(count > 0 && count <= layout.size - offset, "\(count) bytes at \(offset) of \(layout.size)")
        guard case .file(let start) = place else { return }
        demand(start >= 0 && start < image.size, "byte \(offset) lies at \(start), outside \(image.size)")
        demand(count <= image.size - start, "\(count) bytes at \(start) are not inside \(image.size)")
    }

    /// A first write must not grow the file by more than one block and its metadata, nor change what lies outside.
    private static func write<Layout: ImageLayout>(
        _ layout: Layout, at offset: Int64, _ image: PatchedImage
    ) throws {
        var changed = layout
        let got = try changed.allocate(offset, 512)
        let largest: Int64 = 256 << 20
        demand(got.place >= 0 && got.count > 0, "a place at \(got.place)")
        demand(got.place <= changed.fileLength - min(got.count, 512), "a place behind the end of the file")
        demand(
            changed.fileLength - layout.fileLength <= largest,
            "one write grows the file by \(changed.fileLength - layout.fileLength) bytes")
        for change in changed.metadataChanges(from: layout) {
            demand(
                change.offset >= 0 && change.offset + Int64(change.bytes.count) <= changed.fileLength,
                "metadata at \(change.offset) is outside the file")
        }
    }
}
