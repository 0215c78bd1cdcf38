import Abstractions

/// Reading a VHD's metadata, of which nothing is believed before it is checked.
enum VHD {
    /// Bounds the memory that a hostile header can ask for: 2 TiB in blocks of 512 KiB, the smallest that other programs make.
    static let mostBlocks: Int64 = 1 << 22
    /// How far behind the last block the footer is looked for in what a death in a transaction has left.
    private static let footerSearch: Int64 = 1 << 20

    /// Reads and checks an image of any kind.
    ///
    /// QEMU takes a dynamic image's size from its rounded geometry and no differencing one at all; the footer's size is right.
    /// - Throws: `corrupt` that names the place.
    static func layout(_ file: any ImageFile) throws -> any ImageLayout {
        do {
            let length = try file.length()
            guard length >= VHDFooter.length else { throw VHDProblem("\(length) bytes are too few for a footer") }
            let head = try file.bytes(at: 0, count: Int(VHDFooter.length))
            let fixed = fixedFooter(try file.bytes(at: length - VHDFooter.length, count: head.count), length)
            guard head.starts(with: VHDFooter.cookie) else {
                if let fixed { return VHDFixedLayout(fixed) }
                throw VHDProblem(try missingFooter(file, length))
            }
            let footer = try VHDFooter(head)
            // What a guest writes first on a fixed disk is not to make it another disk.
            guard fixed == nil, footer.kind != .fixed else {
                throw VHDProblem("its first sector and its last one contradict each other")
            }
            return try sparse(file, footer, length)
        } catch let problem as VHDProblem {
            throw BackendError(
                .corrupt, "disk.open",
                "\(file.path) is not a sound VHD image: \(problem.text); restore it from a copy", blame: .disk)
        }
    }

    private static func fixedFooter(_ bytes: [UInt8], _ length: Int64) -> VHDFooter? {
        guard let footer = try? VHDFooter(bytes), footer.kind == .fixed, footer.size == length - VHDFooter.length else {
            return nil
        }
        return footer
    }

    /// What to say of a file without a footer in front and a right one at its end.
    private static func missingFooter(_ file: any ImageFile, _ length: Int64) throws -> String {
        do {
            let footer = try VHDFooter(file.bytes(at: length - VHDFooter.length, count: Int(VHDFooter.length)))
            guard footer.kind == .fixed else { return "there is no copy of the footer in front" }
            return "the footer says \(footer.size) bytes, the file has \(length - VHDFooter.length) before it"
        } catch let problem as VHDProblem {
            return "\(problem.text) at byte \(length - VHDFooter.length), the end"
        }
    }

    private static func sparse(_ file: any ImageFile, _ footer: VHDFooter, _ length: Int64) throws -> VHDLayout {
        let at = footer.headerOffset
        guard at >= VHDFooter.length, at % 512 == 0, at <= length - Int64(VHDHeader.length) else {
            throw VHDProblem("the header at byte \(at) is outside the file or not on a sector")
        }
        let header = try VHDHeader(file.bytes(at: at, count: VHDHeader.length))
        let blockSize = header.blockSize
        guard blockSize >= 4096, blockSize <= 256 << 20, blockSize & (blockSize - 1) == 0 else {
            throw VHDProblem("block size \(blockSize)")
        }
        let blocks = (footer.size + blockSize - 1) / blockSize
        guard blocks <= mostBlocks, header.entries >= blocks else {
            throw VHDProblem("\(header.entries) entries in the block table of a disk with \(blocks) blocks")
        }
        guard header.tableOffset >= VHDFooter.length, header.tableOffset % 512 == 0,
            header.tableOffset <= length - header.entries * 4
        else {
            throw VHDProblem("the block table at byte \(header.tableOffset) is outside the file or not on a sector")
        }
        guard (header.parent != nil) == (footer.kind == .differencing) else {
            throw VHDProblem(
                header.parent == nil
                    ? "a differencing image without a parent" : "a parent in an image that is not differencing")
        }
        var table = [UInt32](repeating: 0, count: Int(blocks))
        try table.withUnsafeMutableBytes { try file.read(at: header.tableOffset, into: $0) }
        table = table.map { UInt32(bigEndian: $0) }
        let end = try VHDRegions(footer, header, table).checkedEnd(in: length)
        let footerOffset = try footerPlace(file, footer, after: end, length)
        return VHDLayout(
            size: footer.size, footer: footer, blockSize: blockSize, tableOffset: header.tableOffset,
            links: try links(file, footer, header), bitmaps: VHDBitmaps(file, blockSize: blockSize), table: table,
            footerOffset: footerOffset, committedEnd: footerOffset + VHDFooter.length)
    }

    /// The footer stands at the end, or before what a transaction appended that never committed.
    private static func footerPlace(
        _ file: any ImageFile, _ copy: VHDFooter, after end: Int64, _ length: Int64
    ) throws -> Int64 {
        func isThere(_ offset: Int64) throws -> Bool {
            guard offset >= end, offset <= length - VHDFooter.length,
                let footer = try? VHDFooter(file.bytes(at: offset, count: Int(VHDFooter.length)))
            else { return false }
            return footer.isSame(as: copy)
        }
        if try isThere(length - VHDFooter.length) { return length - VHDFooter.length }
        let first = (end + 511) / 512 * 512
        for offset in stride(from: first, through: min(first + footerSearch, length - VHDFooter.length), by: 512)
        where try isThere(offset) { return offset }
        throw VHDProblem("the footer at its end is missing or not that at its start, as in a truncated file")
    }

    /// How an image and its parent are named, with no more checks than that takes; nil for what is no VHD or has no uuid.
    static func links(of file: any ImageFile) throws -> LayerLinks? {
        let count = Int(VHDFooter.length)
        let length = try file.length()
        guard length >= VHDFooter.length else { return nil }
        if let footer = try? VHDFooter(file.bytes(at: 0, count: count)), footer.kind != .fixed {
            guard footer.headerOffset >= 0, footer.headerOffset <= length - Int64(VHDHeader.length),
                let header = try? VHDHeader(file.bytes(at: footer.headerOffset, count: VHDHeader.length))
            else { return nil }
            return try links(file, footer, header)
        }
        return fixedFooter(try file.bytes(at: length - VHDFooter.length, count: count), length)
            .flatMap { VHDFixedLayout($0).links }
    }

    private static func links(_ file: any ImageFile, _ footer: VHDFooter, _ header: VHDHeader) throws -> LayerLinks? {
        guard let uuid = footer.uuid else {
            if footer.kind == .differencing { throw VHDProblem("a differencing image without a uuid") }
            return nil
        }
        let names = try header.names(in: file)
        return LayerLinks(uuid: uuid, parent: header.parent.map { ParentLink(uuid: $0, names: names) })
    }
}

/// What lies where in a VHD's file.
private struct VHDRegions {
    /// The number of a block, or what else it is below zero.
    private var regions: [(start: Int64, count: Int64, number: Int)]
    private let names: [String]

    init(_ footer: VHDFooter, _ header: VHDHeader, _ table: [UInt32]) {
        let stride = VHDLayout.bitmapSize(header.blockSize) + header.blockSize
        let parts = [
            (Int64(0), VHDFooter.length, "the copy of the footer"),
            (footer.headerOffset, Int64(VHDHeader.length), "the header"),
            (header.tableOffset, header.entries * 4, "the block table"),
        ]
        let locators = header.locators.map { ($0.offset, $0.count, "the parent's name \($0.code)") }
        names = (parts + locators).map(\.2)
        regions = (parts + locators).enumerated().map { ($1.0, $1.1, -1 - $0) }
        for (number, entry) in table.enumerated() where entry != VHDLayout.unused {
            regions.append((Int64(entry) * 512, stride, number))
        }
        regions.sort { $0.start < $1.start }
    }

    private func name(_ number: Int) -> String { number < 0 ? names[-1 - number] : "block \(number)" }

    /// The first byte behind all of it.
    ///
    /// - Throws: what reaches out of the file, or lies over something else.
    func checkedEnd(in length: Int64) throws(VHDProblem) -> Int64 {
        var (end, last): (Int64, Int?) = (0, nil)
        for region in regions {
            guard region.start >= 0, region.start <= length - region.count else {
                throw VHDProblem(
                    "\(name(region.number)) at byte \(region.start) reaches past the file's end, \(length)")
            }
            if let last, region.start < end {
                throw VHDProblem("\(name(region.number)) at byte \(region.start) lies over \(name(last))")
            }
            (end, last) = (region.start + region.count, region.number)
        }
        return end
    }
}
