import Abstractions
import FoundationEssentials

/// Bytes as text on the wire (RFC 4648, section 4).
enum Base64 {
    static func encode(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

    /// - Throws: `protocolViolation` for text that is not base64.
    static func decode(_ text: String) throws -> [UInt8] {
        guard let data = Data(base64Encoded: text) else {
            throw BackendError(.protocolViolation, "wire", "the bytes of an answer are not base64")
        }
        return Array(data)
    }
}
