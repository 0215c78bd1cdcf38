import Abstractions
import BackendSupport

/// The header of one file in a tar archive: POSIX pax with GNU's sparse format 1.0, which GNU tar in the appliance reads.
///
/// Sources: POSIX.1-2017 pax, and the appendices "Standard" and "Sparse Formats" of GNU tar's manual.
struct TarEntry {
    /// Its path in the archive, by `GuestPath`'s rule for bytes.
    var path: String
    /// Kind, mode, owner, times; a link's text.
    var stat: FileStat
    /// For a hard link the path of the file that it names.
    var linkPath: String?
    /// For a file with holes where its data lies; nil for one without.
    var ranges: [Range<Int64>]?

    /// How many bytes of content follow the header, without padding.
    var contentSize: Int64 {
        guard stat.kind == .file, linkPath == nil else { return 0 }
        guard let ranges else { return stat.size.bytes }
        return Int64(sparseMap.count) + ranges.reduce(0) { $0 + Int64($1.count) }
    }

    /// The list of ranges that starts the content of a file with holes; empty for others.
    var sparseMap: [UInt8] {
        guard let ranges else { return [] }
        // The last entry says where the file ends.
        let entries = ranges + [stat.size.bytes..<stat.size.bytes]
        let text = "\(entries.count)\n" + entries.map { "\($0.lowerBound)\n\($0.count)\n" }.joined()
        return TarEntry.padded(Array(text.utf8))
    }

    /// The blocks in front of the content.
    var header: [UInt8] {
        var records = ["mtime": Array(TarEntry.seconds(stat.modifiedNanoseconds).utf8)]
        let name = GuestPath.bytes(of: path)
        let link = GuestPath.bytes(of: linkPath ?? stat.target ?? "")
        if ranges == nil {
            records["path"] = name
        } else {
            records["GNU.sparse.major"] = Array("1".utf8)
            records["GNU.sparse.minor"] = Array("0".utf8)
            records["GNU.sparse.name"] = name
            records["GNU.sparse.realsize"] = Array("\(stat.size.bytes)".utf8)
        }
        if !link.isEmpty { records["linkpath"] = link }
        if contentSize > 0o77777777777 { records["size"] = Array("\(contentSize)".utf8) }
        if stat.uid > 0o7777777 { records["uid"] = Array("\(stat.uid)".utf8) }
        if stat.gid > 0o7777777 { records["gid"] = Array("\(stat.gid)".utf8) }
        let extended = records.sorted { $0.key < $1.key }.flatMap { TarEntry.record($0.key, $0.value) }
        let first = TarEntry.block(
            name: Array("pax".utf8), link: [], type: "x", mode: 0o644, uid: 0, gid: 0, size: Int64(extended.count))
        let main = TarEntry.block(
            name: name, link: link, type: type, mode: stat.mode, uid: stat.uid, gid: stat.gid, size: contentSize)
        return first + TarEntry.padded(extended) + main
    }

    private var type: Unicode.Scalar {
        if linkPath != nil { return "1" }
        switch stat.kind {
        case .symlink: return "2"
        case .directory: return "5"
        default: return "0"
        }
    }

    // MARK: - Bytes

    /// Filled up with zeros to whole blocks of 512 bytes.
    static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }

    /// `LENGTH KEY=VALUE\n`, where the length counts itself.
    private static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = key.utf8.count + value.count + 3
        var length = rest + 1
        while String(length).utf8.count + rest != length { length += 1 }
        return Array("\(length) \(key)=".utf8) + value + [0x0a]
    }

    private static func block(
        name: [UInt8], link: [UInt8], type: Unicode.Scalar, mode: UInt32, uid: UInt32, gid: UInt32, size: Int64
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: [UInt8], _ offset: Int, _ room: Int) {
            for (index, byte) in bytes.prefix(room).enumerated() { block[offset + index] = byte }
        }
        func number(_ value: Int64, _ offset: Int, _ digits: Int) {
            let limit = Int64(1) << Int64(3 * digits)
            let text = String(value < limit ? value : 0, radix: 8)
            put(Array((String(repeating: "0", count: digits - text.utf8.count) + text).utf8), offset, digits)
        }
        put(name, 0, 100)
        number(Int64(mode & 0o7777), 100, 7)
        number(Int64(uid), 108, 7)
        number(Int64(gid), 116, 7)
        number(size, 124, 11)
        number(0, 136, 11)
        put([UInt8](repeating: 0x20, count: 8), 148, 8)
        put([UInt8(truncatingIfNeeded: type.value)], 156, 1)
        put(link, 157, 100)
        put(Array("ustar\u{0}00".utf8), 257, 8)
        let sum = block.reduce(0) { $0 + Int64($1) }
        number(sum, 148, 6)
        block[154] = 0
        return block
    }

    private static func seconds(_ nanoseconds: Int64) -> String {
        let (whole, rest) = nanoseconds.magnitude.quotientAndRemainder(dividingBy: 1_000_000_000)
        let fraction = String(rest)
        let padding = String(repeating: "0", count: 9 - fraction.utf8.count)
        return "\(nanoseconds < 0 ? "-" : "")\(whole).\(padding)\(fraction)"
    }
}
