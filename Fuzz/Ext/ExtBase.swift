import Abstractions
import FuzzDriver
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A sound image, the file that its mutations are written to, and where its metadata lies.
struct ExtBase: Sendable {
    /// What is done to one field.
    ///
    /// ```
    /// u16 which block of metadata | u16 field of 4 bytes in it | u8 operation | u8 which byte of the field | u32 value
    /// ```
    enum Mutation { static let length = 10 }

    let path: HostPath
    let content: [UInt8]
    private let descriptor: Int32
    /// Offsets of the blocks of 1 KiB that are not zero: in images this small nearly all of them are metadata.
    private let blocks: [Int]

    /// The images `*.base` of a folder; each is mutated in a file beside it.
    static func all(in folder: HostPath) -> [ExtBase] {
        let names = HostFiles.names(in: folder).filter { $0.hasSuffix(".base") }.sorted()
        demand(!names.isEmpty, "\(folder) has no base images")
        return names.map { ExtBase(folder.appending($0)) }
    }

    private init(_ source: HostPath) {
        guard let bytes = try? HostFiles.read(source) else { fatalError("cannot read \(source)") }
        content = bytes
        path = HostPath("\(source.string.dropLast(5))-\(getpid()).raw")
        descriptor = open(path.string, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        demand(descriptor >= 0, "cannot make \(path)")
        blocks = stride(from: 0, to: bytes.count, by: 1024).filter { start in
            bytes[start..<min(start + 1024, bytes.count)].contains { $0 != 0 }
        }
    }

    var length: Int { Int(lseek(descriptor, 0, SEEK_END)) }

    func restore() {
        ftruncate(descriptor, off_t(content.count))
        let written = content.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        demand(written == content.count, "cannot write \(path)")
    }

    func mutate(_ input: Slice<UnsafeRawBufferPointer>) {
        let input = UnsafeRawBufferPointer(rebasing: input)
        for at in stride(from: 0, through: input.count - Mutation.length, by: Mutation.length) {
            let block = blocks[Int(input.loadUnaligned(fromByteOffset: at, as: UInt16.self)) % blocks.count]
            let field = Int(input.loadUnaligned(fromByteOffset: at + 2, as: UInt16.self)) % 256 * 4
            let value = input.loadUnaligned(fromByteOffset: at + 6, as: UInt32.self)
            let place = block + field
            var old: UInt32 = 0
            pread(descriptor, &old, 4, off_t(place))
            var new = old
            switch input[at + 4] % 5 {
            case 0: new = value
            case 1: new = old &+ value
            case 2: new = old ^ 1 << (value % 32)
            case 3: new = old & 0xffff_0000 | value & 0xffff
            default: new = old & ~(0xff << UInt32(input[at + 5] % 4 * 8))
            }
            pwrite(descriptor, &new, 4, off_t(place))
        }
    }
}
