import Abstractions

/// A fixed VHD: the disk's bytes as they are, and the footer behind them.
struct VHDFixedLayout: ImageLayout {
    let size: Int64
    let links: LayerLinks?
    let mark: ImageMark?
    var variant: String? { "fixed" }
    var fileLength: Int64 { size + VHDFooter.length }

    init(_ footer: VHDFooter) {
        size = footer.size
        links = footer.uuid.map { LayerLinks(uuid: $0) }
        mark = ImageMark(offset: size + 68, bytes: Array(footer.bytes[68..<84]))
    }

    func locate(_ offset: Int64) -> (place: Place, count: Int64) { (.file(offset), size - offset) }
    mutating func allocate(_ offset: Int64, _ count: Int64) -> Allocation { Allocation(place: offset, count: count) }
    mutating func committed() {}
    func metadataChanges(from old: VHDFixedLayout) -> [(offset: Int64, bytes: [UInt8])] { [] }
}
