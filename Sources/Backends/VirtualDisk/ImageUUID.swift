/// The sixteen bytes by which images name each other, in the order in which they lie in a file.
struct ImageUUID: Sendable, Hashable, CustomStringConvertible {
    let bytes: [UInt8]

    /// - Returns: nil for sixteen zeros, which name nothing.
    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 16, bytes.contains(where: { $0 != 0 }) else { return nil }
        self.bytes = Array(bytes)
    }

    private init(random: Void) {
        var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
        // The field with the version is a little-endian number.
        bytes[7] = bytes[7] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        self.bytes = bytes
    }

    /// A random uuid, version 4 (RFC 9562).
    static func random() -> ImageUUID { ImageUUID(random: ()) }

    /// As VirtualBox prints it: its first three fields are little-endian numbers (RTUUID in include/iprt/uuid.h).
    var description: String {
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
        return order.enumerated().map { position, index in
            let digits = String(bytes[index], radix: 16)
            return ([4, 6, 8, 10].contains(position) ? "-" : "") + (digits.count == 1 ? "0" : "") + digits
        }.joined()
    }
}
