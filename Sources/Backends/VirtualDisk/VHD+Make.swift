import Abstractions
import Host

extension VHD {
    /// Writes a new image, with blocks as large as everybody makes them.
    static func make(_ file: any ImageFile, _ new: NewImage, blockSize: Int64 = 2 << 20) throws {
        guard new.size <= VHDFooter.mostBytes else {
            throw BackendError(
                .invalidArgument, "disk.create", "a VHD has at most 2040 GiB, not \(ByteCount(new.size))",
                blame: .caller)
        }
        if new.fixed {
            try file.truncate(to: new.size + VHDFooter.length)
            return try file.write(at: new.size, bytes: VHDFooter(size: new.size, .fixed).bytes)
        }
        let footer = VHDFooter(size: new.size, new.parent == nil ? .dynamic : .differencing)
        let entries = (new.size + blockSize - 1) / blockSize
        let tableSize = (entries * 4 + 511) / 512 * 512
        let path = new.parent.map { relativePath($0.path, from: file.path.parent) } ?? ""
        let text = path.utf16.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] }
        let textOffset = VHDFooter.length + Int64(VHDHeader.length) + tableSize
        let header = VHDHeader(
            entries: entries, blockSize: blockSize, parent: new.parent?.links.uuid,
            name: new.parent?.path.name ?? "",
            locator: text.isEmpty ? nil : .init(code: "W2ru", offset: textOffset, count: Int64(text.count)))
        let table = [UInt8](repeating: 0xff, count: Int(tableSize))
        let padding = [UInt8](repeating: 0, count: (512 - text.count % 512) % 512)
        try file.write(at: 0, bytes: footer.bytes + header.bytes + table + text + padding + footer.bytes)
    }

    /// The path of a file as seen from a folder.
    private static func relativePath(_ path: HostPath, from folder: HostPath) -> String {
        func parts(_ path: HostPath) -> [Substring] {
            (HostFiles.resolved(path) ?? HostFiles.absolute(path)).string.split(separator: "/")
        }
        let (to, from) = (parts(path), parts(folder))
        let common = zip(to, from).prefix { $0 == $1 }.count
        return ([Substring](repeating: "..", count: from.count - common) + to.dropFirst(common)).joined(separator: "/")
    }
}
