import Abstractions
import FoundationEssentials

/// What server and plugin say to each other: one JSON object a line on a socket pair, the server's standard input.
///
/// ```
///   plugin                     server
///                         <--  {"files":[…]}         mounted and ready
///   {"command":"commit"}  -->
///                         <--  {}                    or {"error":…}; after an error nothing has happened
///   end of the stream     -->  drops what is staged, unmounts, exits
/// ```
enum ServerMessage {
    struct Request: Codable {
        var command: Command
    }

    enum Command: String, Codable {
        /// Makes everything durable.
        case commit
        /// Says the first read or write that failed since the start.
        case status
    }

    struct Answer: Codable {
        var files: [ServedFile]?
        var error: BackendError?
        /// What is wrong with the partition table; for people.
        var warning: String?
        /// The server's process number; for people.
        var process: Int32?
    }

    static func line(_ value: some Encodable) -> [UInt8] {
        // These types hold only text and numbers, which always have a JSON form.
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        let encoded = (try? encoder.encode(value)) ?? Data("{}".utf8)
        return Array(encoded) + [0x0a]
    }

    static func parse<Value: Decodable>(_ line: some Collection<UInt8>, as type: Value.Type) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(line))
        } catch {
            throw BackendError(
                .protocolViolation, "vdfuse.server", "the server and the plugin do not understand each other")
        }
    }
}
