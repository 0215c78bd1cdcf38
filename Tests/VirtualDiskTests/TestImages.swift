import Abstractions
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// The kinds of images that transactions are tried on: small, with small blocks, so that a change meets their borders.
enum TestImage: String, Sendable, CaseIterable, CustomTestStringConvertible {
    case raw, vdi, vdiLayer, fixedVHD, vhd, vhdLayer

    var testDescription: String { rawValue }

    /// Whether there is a layer below, which holds `pattern(size, seed: 200)` except for holes.
    var isLayer: Bool { self == .vdiLayer || self == .vhdLayer }
    /// Whether every byte of the disk has its place from the start.
    var isFlat: Bool { self == .raw || self == .fixedVHD }

    /// The content of a new one.
    func content(_ size: Int) -> [UInt8] {
        guard isLayer else { return [UInt8](repeating: 0, count: size) }
        var bytes = pattern(size, seed: 200)
        let hole = [UInt8](repeating: 0, count: size / 4)
        bytes.replaceSubrange(size / 2..<size / 2 + hole.count, with: hole)
        return bytes
    }

    func make(_ scratch: Scratch, _ size: Int64) throws -> DiskImage {
        switch self {
        case .raw: return try scratch.raw(size)
        case .vdi: return try scratch.smallVDI(size)
        case .vdiLayer:
            let base = try scratch.smallVDI(size, "base.vdi")
            try fill(base, Int(size))
            return try scratch.smallVDI(size, over: base)
        case .fixedVHD:
            let image = DiskImage(path: scratch.path("fixed.vhd"), format: .vhd)
            try VirtualDisk.create(image, size: ByteCount(size), fixed: true)
            return image
        case .vhd: return try scratch.smallVHD(size)
        case .vhdLayer:
            let base = try scratch.smallVHD(size, "base.vhd")
            try fill(base, Int(size))
            return try scratch.smallVHD(size, over: base)
        }
    }

    private func fill(_ base: DiskImage, _ size: Int) throws {
        let content = content(size)
        let transaction = try VirtualDisk.open(base, .readWrite).begin()
        try transaction.write(at: 0, bytes: Array(content[..<(size / 2)]))
        try transaction.write(at: Int64(size / 4 * 3), bytes: Array(content[(size / 4 * 3)...]))
        try transaction.commit()
    }
}

extension Scratch {
    /// A layer with blocks of 64 KiB, which other programs than VirtualBox's own make.
    func smallVDI(_ size: Int64, _ name: String = "small.vdi", over base: DiskImage? = nil) throws -> DiskImage {
        let count = Int(size >> 16)
        let links = try base.map { try VDILayout.links(of: PosixFile($0.path, O_RDONLY)) }
        var new = NewImage(size: size)
        if let base, let links = links ?? nil { new.parent = (links, base.path) }
        var head = VDILayout.new(new).head
        for (offset, value) in [(0x154, 512), (0x158, 1024), (0x178, 1 << 16), (0x180, count)] {
            head.replaceSubrange(offset..<offset + 4, with: littleEndian(UInt32(value)))
        }
        let image = DiskImage(path: path(name), format: .vdi)
        try HostFiles.write(head + [UInt8](repeating: 0xff, count: 512), to: image.path)
        return image
    }

    /// The same as a VHD.
    func smallVHD(_ size: Int64, _ name: String = "small.vhd", over base: DiskImage? = nil) throws -> DiskImage {
        var new = NewImage(size: size)
        if let base, let links = try VHD.links(of: PosixFile(base.path, O_RDONLY)) { new.parent = (links, base.path) }
        let image = DiskImage(path: path(name), format: .vhd)
        try VHD.make(PosixFile(image.path, O_RDWR | O_CREAT | O_EXCL), new, blockSize: 1 << 16)
        return image
    }
}
