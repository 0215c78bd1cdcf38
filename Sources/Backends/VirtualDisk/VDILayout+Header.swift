import Abstractions

extension VDILayout {
    /// Reads and checks the header and the block map, before anything else is believed.
    ///
    /// QEMU reads a truncated image without a word, follows a map entry out of range and ignores one that stands twice; all
    /// three are refused here.
    /// - Throws: `corrupt` that names the field; `unsupported` for an unknown version.
    init(_ file: any ImageFile) throws {
        let length = try file.length()
        func damaged(_ what: String) -> BackendError {
            BackendError(
                .corrupt, "disk.open", "\(file.path) is not a sound VDI image: \(what); restore it from a copy",
                blame: .disk)
        }
        guard length >= 0x200 else { throw damaged("\(length) bytes are too few for a header") }
        let header = try file.bytes(at: 0, count: 0x200)
        guard header.u32(0x40) == VDILayout.signature else {
            throw damaged("signature 0x\(String(header.u32(0x40), radix: 16)) instead of 0xbeda107f")
        }
        guard header.u32(0x44) == 0x0001_0001 else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(file.path) is VDI version \(header.u32(0x44) >> 16).\(header.u32(0x44) & 0xffff); only 1.1 is known")
        }
        type = header.u32(0x4c)
        guard [1, 2, 4].contains(type) else {
            throw damaged("image type \(type) instead of 1 (dynamic), 2 (fixed) or 4 (differencing)")
        }
        links = VDILayout.links(in: header)
        guard (links?.parent != nil) == (type == 4) else {
            throw damaged(
                type == 4 ? "a differencing image without a parent" : "a parent in an image that is not differencing")
        }
        mapOffset = Int64(header.u32(0x154))
        dataOffset = Int64(header.u32(0x158))
        size = Int64(truncatingIfNeeded: header.u64(0x170))
        blockSize = Int64(header.u32(0x178))
        blockExtra = Int64(header.u32(0x17c))
        allocated = header.u32(0x184)
        uuid = Array(header[0x188..<0x198])
        let blocks = Int64(header.u32(0x180))
        guard header.u32(0x168) == 512 || header.u32(0x168) == 0 else {
            throw damaged("sector size \(header.u32(0x168))")
        }
        guard blockSize >= 4096, blockSize <= 256 << 20, blockSize & (blockSize - 1) == 0 else {
            throw damaged("block size \(blockSize)")
        }
        guard blockExtra == 0 || blockExtra % 512 == 0, blockExtra < blockSize else {
            throw damaged("block extra \(blockExtra)")
        }
        guard size > 0, size <= 1 << 50, size % 512 == 0 else { throw damaged("disk size \(size)") }
        guard blocks <= VDILayout.mostBlocks else { throw damaged("a block map of \(blocks) entries") }
        guard blocks == (size + blockSize - 1) / blockSize else {
            throw damaged("\(blocks) blocks for a disk of \(size) bytes")
        }
        guard mapOffset >= 0x1c8, mapOffset % 512 == 0, dataOffset % 512 == 0, dataOffset >= mapOffset + blocks * 4
        else {
            throw damaged("block map at \(mapOffset) and data at \(dataOffset) overlap or are not on a sector")
        }
        guard length >= mapOffset + blocks * 4 else {
            throw damaged("truncated within the block map, at \(length) bytes")
        }
        map = try VDILayout.readMap(file, mapOffset, Int(blocks))
        try checkMap(length, damaged)
    }

    private static func readMap(_ file: any ImageFile, _ offset: Int64, _ count: Int) throws -> [UInt32] {
        var map = [UInt32](repeating: 0, count: count)
        try map.withUnsafeMutableBytes { try file.read(at: offset, into: $0) }
        return map.map { UInt32(littleEndian: $0) }
    }

    private func checkMap(_ length: Int64, _ damaged: (String) -> BackendError) throws {
        guard Int(allocated) <= map.count else {
            throw damaged("\(allocated) blocks in the file of a disk with \(map.count)")
        }
        guard length >= fileLength else {
            throw damaged("truncated: \(allocated) blocks need \(fileLength) bytes, the file has \(length)")
        }
        var seen = [Bool](repeating: false, count: Int(allocated))
        for (block, entry) in map.enumerated() where entry < VDILayout.zero {
            guard entry < allocated else {
                throw damaged("block map entry \(block) is \(entry), out of range: the file has \(allocated) blocks")
            }
            guard !seen[Int(entry)] else { throw damaged("block map entry \(block) is \(entry), which stands twice") }
            seen[Int(entry)] = true
        }
    }

    /// How an image and its parent are named, without any check of the rest; nil for what is no VDI or has no uuid.
    static func links(of file: any ImageFile) throws -> LayerLinks? {
        let header = try file.bytes(at: 0, count: 0x200)
        return header.u32(0x40) == signature ? links(in: header) : nil
    }

    private static func links(in header: [UInt8]) -> LayerLinks? {
        guard let uuid = ImageUUID(header[0x188..<0x198]) else { return nil }
        let parent = ImageUUID(header[0x1a8..<0x1b8]).map {
            ParentLink(uuid: $0, modification: ImageUUID(header[0x1b8..<0x1c8]))
        }
        return LayerLinks(uuid: uuid, modification: ImageUUID(header[0x198..<0x1a8]), parent: parent)
    }

    /// Writes a new image.
    static func make(_ file: any ImageFile, _ new: NewImage) throws {
        let image = VDILayout.new(new)
        try file.truncate(to: image.fileLength)
        try file.write(at: image.mapOffset, bytes: image.map)
        try file.write(at: 0, bytes: image.head)
    }

    /// A new image's header and block map, and the file's length: the map at 1 MiB and data on the next MiB, as VirtualBox does.
    static func new(_ new: NewImage) -> (head: [UInt8], map: [UInt8], mapOffset: Int64, fileLength: Int64) {
        let (size, fixed, parent) = (new.size, new.fixed, new.parent?.links)
        let block: Int64 = 1 << 20
        let count = (size + block - 1) / block
        let mapOffset = block
        let dataOffset = (mapOffset + count * 4 + block - 1) / block * block
        var head = [UInt8](repeating: 0, count: 0x200)
        func put(_ bytes: [UInt8], _ offset: Int) { head.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
        put(Array("<<< anyvisor VirtualBox Disk Image >>>\n".utf8), 0)
        // Both geometries are left to the machine, but name their sector: else VirtualBox takes the file for no VDI at all.
        let sector: UInt32 = 512
        let fields: [(Int, UInt32)] = [
            (0x40, signature), (0x44, 0x0001_0001), (0x48, 0x190), (0x4c, parent != nil ? 4 : fixed ? 2 : 1),
            (0x154, UInt32(mapOffset)), (0x158, UInt32(dataOffset)), (0x168, sector), (0x1d4, sector),
            (0x178, UInt32(block)),
            (0x180, UInt32(count)), (0x184, fixed ? UInt32(count) : 0),
        ]
        for (offset, value) in fields { put(littleEndian(value), offset) }
        put(littleEndian(UInt64(size)), 0x170)
        put(ImageUUID.random().bytes, 0x188)
        put(ImageUUID.random().bytes, 0x198)
        if let parent { put(parent.uuid.bytes, 0x1a8) }
        if let modification = parent?.modification { put(modification.bytes, 0x1b8) }
        let entries = (0..<count).flatMap { littleEndian(fixed ? UInt32($0) : askParent) }
        return (head, entries, mapOffset, dataOffset + (fixed ? count * block : 0))
    }
}
