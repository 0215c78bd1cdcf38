import Abstractions
import FoundationEssentials
import Host

/// What `result.json` holds; its fields are described in docs/result.md.
public struct RunResult: Sendable, Hashable, Codable {
    /// Version of this layout.
    public var schema = 1
    /// The recipe's name.
    public var name: String
    /// The run's name on this host.
    public var attempt: String
    /// How the run as a whole ended.
    public var status: Status
    /// The exit code that goes with it.
    public var exitCode: Int32
    /// Whether the guest was made up.
    public var simulated: Bool
    /// Why there is no better status.
    public var error: BackendError?
    /// When it began, in milliseconds since 1970.
    public var startedMs: Int64
    /// How long it took.
    public var ms: Int64
    /// What was asked for.
    public var recipe: RecipeRecord
    /// The image that booted.
    public var image: ImageRecord?
    /// The hypervisor that ran the machine.
    public var hypervisor: BackendRecord?
    /// How the machine came up: `cold`, or `warm`.
    public var boot: String?
    /// The disk backend that did each copy.
    public var disk: [String: BackendRecord]
    /// The backends that were tried and given up, in order.
    public var rejections: [RejectedBackend]
    /// All phases in order.
    public var phases: [PhaseRecord]
    /// All tasks in order.
    public var tasks: [TaskResult]
    /// What the agent found in its guest.
    public var guest: [String: String]
    /// The names of the inputs as they lay in the machine.
    public var inputs: [String]
    /// What is worth knowing beside all this.
    public var notes: [String]
    /// How many entries of the results were refused; `refused.json` lists them.
    public var refused: Int64
    /// This host.
    public var host: [String: String]

    /// How a run ended.
    public enum Status: String, Sendable, Hashable, Codable {
        /// Every task succeeded.
        case passed
        /// A task did not.
        case failed
        /// A hypervisor, a disk backend or the host failed.
        case error
        /// Somebody stopped it.
        case interrupted
    }

    /// The recipe as it was.
    public struct RecipeRecord: Sendable, Hashable, Codable {
        /// Its file.
        public var file: String
        /// The SHA-256 of its bytes.
        public var sha256: String?
        /// Its masks.
        public var masks: [String]?
    }

    /// The image as it was.
    public struct ImageRecord: Sendable, Hashable, Codable {
        /// Its name.
        public var name: String
        /// What tells one build from another.
        public var identity: String
    }

    /// A backend as it was.
    public struct BackendRecord: Sendable, Hashable, Codable {
        /// Its name.
        public var name: String
        /// Its own words on its version.
        public var version: String
    }

    /// One phase.
    public struct PhaseRecord: Sendable, Hashable, Codable {
        /// Its name.
        public var name: String
        /// When it began, in milliseconds from the start of the run.
        public var startMs: Int64
        /// How long it took.
        public var ms: Int64
        /// `ok`, or the code of the error.
        public var status: String
    }

    /// The text of `result.json`.
    ///
    /// - Throws: never in practice; what the encoder says.
    public func json() throws -> String {
        String(decoding: try JSONText.encode(self, pretty: true), as: UTF8.self) + "\n"
    }
}

extension RunResult {
    /// The result in the result folder of a run.
    ///
    /// - Throws: `notFound` for a folder without a result, `corrupt` for one that cannot be read.
    public init(in folder: HostPath) throws {
        let file = folder.appending("result.json")
        guard HostFiles.exists(file) else {
            throw BackendError(
                .notFound, "report", "\(folder) is not the result folder of a run: it has no result.json",
                blame: .caller)
        }
        do {
            self = try JSONDecoder().decode(RunResult.self, from: Data(try HostFiles.read(file)))
        } catch {
            throw BackendError(.corrupt, "report", "\(file) cannot be read: \(error)", blame: .caller)
        }
    }
}
