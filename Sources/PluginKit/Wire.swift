import Abstractions
import FoundationEssentials

/// The wire: JSON-RPC 2.0, one object a line, UTF-8, at most 1 MiB a line. `docs/plugin-protocol.md` is its description.
enum Wire {
    /// The protocol versions that this program speaks.
    static let versions = [1, 1]
    /// The longest line, its newline included, in bytes.
    static let lineLimit = 1 << 20
    /// The most bytes that one answer holds: as base64 they fit a line.
    static let readLimit = 512 << 10
    /// Set for every plugin; without it a plugin was started by hand.
    static let cookie = "ANYVISOR_PLUGIN"
    /// Marks every process that one plugin instance started.
    static let instance = "ANYVISOR_PLUGIN_INSTANCE"

    /// A request or, without an id, a notification.
    struct Request<Parameters: Codable & Sendable>: Codable, Sendable {
        var jsonrpc = "2.0"
        var id: Int?
        var method: String
        var params: Parameters
    }

    /// The answer to a request.
    struct Answer<Result: Codable & Sendable>: Codable, Sendable {
        var jsonrpc = "2.0"
        var id: Int
        var result: Result
    }

    /// The answer to a request that failed. `data` is the whole `BackendError`.
    struct Failure: Codable, Sendable {
        struct Body: Codable, Sendable {
            var code = -32000
            var message: String
            var data: BackendError?
        }
        var jsonrpc = "2.0"
        var id: Int
        var error: Body
    }

    /// What every line has in common; tells what it is.
    struct Header: Codable, Sendable {
        var id: Int?
        var method: String?
        var error: Failure.Body?
    }

    /// Nothing, as an object: `{}`.
    struct Empty: Codable, Sendable {}

    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let line = Array(try encoder.encode(value)) + [0x0a]
        guard line.count <= lineLimit else {
            throw BackendError(
                .protocolViolation, "wire", "a message of \(line.count) bytes is longer than \(lineLimit)")
        }
        return line
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ line: [UInt8]) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(line))
        } catch {
            let start = String(decoding: line.prefix(200), as: UTF8.self)
            throw BackendError(.protocolViolation, "wire", "not a message of the protocol: \(start)")
        }
    }
}

/// The first line of a plugin.
public struct Handshake: Codable, Sendable, Hashable {
    /// Lowest and highest protocol version it speaks.
    public var `protocol`: [Int]
    /// What it serves.
    public var kind: BackendKind
    /// Its name.
    public var name: String
    /// Its version, for people.
    public var version: String
    /// Abilities that are known before it is opened; the full set is in `info`.
    public var features: [Feature]

    /// Checks that both sides have a version in common.
    ///
    /// - Throws: `protocolViolation` that says which versions each side speaks.
    func check() throws {
        guard self.protocol.count == 2, self.protocol[0] <= Wire.versions[1], self.protocol[1] >= Wire.versions[0]
        else {
            throw BackendError(
                .protocolViolation, "handshake",
                "plugin '\(name)' speaks protocol \(self.protocol), this anyvisor speaks \(Wire.versions); "
                    + "install versions that match")
        }
    }
}

// Parameters and results of the methods, by their names on the wire. `nil` fields are left out.

struct HandleParameters: Codable, Sendable {
    var handle: String
    var deadlineMs: Int64?
}

struct InitializeParameters: Codable, Sendable {
    var options: [String: String]
    var deadlineMs: Int64?
}

struct CheckParameters: Codable, Sendable {
    var depth: CheckDepth
    var deadlineMs: Int64?
}

struct CreateParameters: Codable, Sendable {
    var spec: MachineSpec
    var deadlineMs: Int64?
}

struct MachineParameters: Codable, Sendable {
    var id: MachineID
    var deadlineMs: Int64?
}

struct OwnerParameters: Codable, Sendable {
    var owner: OwnerTag
    var deadlineMs: Int64?
}

struct MachineHandle: Codable, Sendable {
    var handle: String
    var id: MachineID
    var facets: [Feature]
}

/// `null` stands for no machine.
struct FoundMachine: Codable, Sendable {
    var machine: MachineHandle?
}

struct StopParameters: Codable, Sendable {
    var handle: String
    var mode: StopMode
    var deadlineMs: Int64?
}

struct SnapshotParameters: Codable, Sendable {
    var handle: String
    var name: SnapshotID
    var scope: SnapshotScope?
    var deadlineMs: Int64?
}

struct AttachParameters: Codable, Sendable {
    var handle: String
    var disk: DiskAttachment
    var deadlineMs: Int64?
}

struct DetachParameters: Codable, Sendable {
    var handle: String
    var image: DiskImage
    var deadlineMs: Int64?
}

struct FileParameters: Codable, Sendable {
    var handle: String
    var file: HostPath
    var deadlineMs: Int64?
}

struct ReadParameters: Codable, Sendable {
    var handle: String
    var path: GuestPath?
    var offset: Int64
    var count: Int
    var deadlineMs: Int64?
}

struct OpenParameters: Codable, Sendable {
    var image: DiskImage
    var mode: AccessMode?
    var deadlineMs: Int64?
}

struct VolumeParameters: Codable, Sendable {
    var handle: String
    var volume: VolumeID
    var deadlineMs: Int64?
}

struct FilesystemHandle: Codable, Sendable {
    var handle: String
    var facets: [Feature]
}

struct PathParameters: Codable, Sendable {
    var handle: String
    var path: GuestPath
    var after: String?
    var newPath: GuestPath?
    var target: String?
    var parents: Bool?
    var recursive: Bool?
    var change: MetadataChange?
    var deadlineMs: Int64?
}

struct CopyOutParameters: Codable, Sendable {
    var handle: String
    var path: GuestPath
    var host: HostPath
    var policy: CopyPolicy
    var deadlineMs: Int64?
}

struct CopyInParameters: Codable, Sendable {
    var handle: String
    var host: HostPath
    var path: GuestPath
    var options: CopyInOptions
    var deadlineMs: Int64?
}

struct Value<Wrapped: Codable & Sendable>: Codable, Sendable {
    var value: Wrapped
}

struct CancelNotice: Codable, Sendable {
    var id: Int
}

/// How far the call has come; without a `progress` it only says that the call is under way.
struct ProgressNotice: Codable, Sendable {
    var id: Int
    var progress: TransferProgress?
}

struct LogNotice: Codable, Sendable {
    var level: String
    var message: String
}

struct EventNotice: Codable, Sendable {
    var handle: String
    var event: MachineEvent
}
