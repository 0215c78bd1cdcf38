/// Numbers of the NBD protocol, fixed newstyle; source: doc/proto.md of the nbd project. All numbers travel big-endian.
enum NBD {
    static let magic: UInt64 = 0x4e42_444d_4147_4943
    static let optionMagic: UInt64 = 0x4948_4156_454f_5054
    static let optionReplyMagic: UInt64 = 0x3_e889_0455_65a9
    static let requestMagic: UInt32 = 0x2560_9513
    static let replyMagic: UInt32 = 0x6744_6698
    /// The longest read or write that a client may ask for, in bytes.
    static let maximumLength = 32 << 20

    enum Option {
        static let exportName: UInt32 = 1
        static let abort: UInt32 = 2
        static let info: UInt32 = 6
        static let go: UInt32 = 7
    }

    enum Reply {
        static let acknowledge: UInt32 = 1
        static let info: UInt32 = 3
        static let unsupported: UInt32 = 0x8000_0001
        static let unknown: UInt32 = 0x8000_0006
    }

    enum Command {
        static let read: UInt16 = 0
        static let write: UInt16 = 1
        static let disconnect: UInt16 = 2
        static let flush: UInt16 = 3
        static let trim: UInt16 = 4
        static let writeZeroes: UInt16 = 6
    }

    /// HAS_FLAGS and SEND_FLUSH.
    static let exportFlags: UInt16 = 1 | 4
    /// FIXED_NEWSTYLE and NO_ZEROES.
    static let handshakeFlags: UInt16 = 1 | 2

    enum Failure {
        static let notPermitted: UInt32 = 1
        static let inputOutput: UInt32 = 5
        static let invalid: UInt32 = 22
        static let noSpace: UInt32 = 28
    }

    /// The name in the data of the options `info` and `go`; empty when it is cut short.
    static func exportName(in data: [UInt8]) -> [UInt8] {
        guard data.count >= 4 else { return [] }
        let length = Int(number(data, 0, as: UInt32.self))
        return data.count - 4 >= length ? Array(data[4..<4 + length]) : []
    }

    static func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    static func number<Value: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int, as type: Value.Type) -> Value {
        bytes.withUnsafeBytes { Value(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: type)) }
    }
}
