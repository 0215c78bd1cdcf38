/// Drives machines.
///
/// # Contract
/// ```
///            create            start           guest powers off / stop
///   (nothing) ----> defined ----------> running ------------------------> stopped
///                     ^                   | ^                                |
///                     |              pause| |resume                     start|
///                     |                   v |                                v
///                     |                  paused                            running
///   destroy: from every state -> gone      crash -> crashed      backend lost -> lost
/// ```
/// - `create` is all or nothing: when it throws, nothing that it made is left.
/// - `create` with a name that exists throws `alreadyExists` and leaves the other machine alone.
/// - `info`, `check`, `machine(_:)` and `machines(ownedBy:)` change nothing and may be called at any time, at once.
/// - `machines(ownedBy:)` lists only machines whose name carries the mark, in every state, sorted by name.
/// - `close` is idempotent, frees the connection and leaves machines as they are; later calls throw `invalidState`.
/// - Every thrown error is a `BackendError` or `CancellationError`.
/// - `features` of `info` and the facets of every machine agree: a facet is non-nil exactly when its feature is listed.
/// - Methods of different machines may run at once; for one machine the backend serializes them.
public protocol Hypervisor: Sendable {
    /// Name, version, features, formats and limits.
    func info() async throws -> HypervisorInfo
    /// What works here and what to do about the rest.
    func check(_ depth: CheckDepth) async throws -> [Finding]
    /// Defines a machine and does not start it.
    ///
    /// - Throws: `invalidArgument` for a spec that `MachineSpec.validate` or the backend's limits refuse, `alreadyExists`,
    ///   `notFound` for a missing image or kernel, `unsupported` for a disk format or boot source it does not have.
    func create(_ spec: MachineSpec) async throws -> any Machine
    /// The machine with this name, in whatever state; nil when there is none.
    func machine(_ id: MachineID) async throws -> (any Machine)?
    /// The machines that carry the mark.
    func machines(ownedBy: OwnerTag) async throws -> [MachineSummary]
    /// Frees the connection.
    func close() async
}

/// One virtual machine.
///
/// # Contract
/// - `start` is legal in `defined` and `stopped`, else `invalidState`; it returns when the hypervisor accepted.
/// - `stop(.force)` is legal in `running`, `paused` and `crashed`, and returns when the machine is `stopped`; in `defined` and
///   `stopped` it does nothing. `stop(.graceful)` asks the guest and forces after the time given.
/// - `destroy` is legal in every state, idempotent, and frees all that `create` made. Images named by the spec stay.
/// - After `destroy`, `state` is `gone` and every other method but `destroy` throws `notFound`.
/// - `events` may be called any number of times; each stream starts with the next event and ends after `.gone` or `.lost`.
public protocol Machine: Sendable {
    /// The machine's name.
    var id: MachineID { get }
    /// The state now.
    func state() async throws -> MachineState
    /// Starts it; returns when accepted, not when the guest is up.
    func start() async throws
    /// Stops it.
    func stop(_ mode: StopMode) async throws
    /// Removes it from any state.
    func destroy() async throws
    /// What happens to it from now on.
    func events() -> AsyncStream<MachineEvent>
    /// Reads the serial console; nil: the backend does not have it.
    var console: (any ConsoleFacet)? { get }
    /// Snapshots; nil: the backend does not have them.
    var snapshots: (any SnapshotFacet)? { get }
    /// Pausing; nil: the backend does not have it.
    var pause: (any PauseFacet)? { get }
    /// Disks that come and go while it runs; nil: the backend does not have it.
    var disks: (any DiskHotplugFacet)? { get }
    /// A picture of the screen; nil: the backend does not have it.
    var screenshot: (any ScreenshotFacet)? { get }
    /// Counters; nil: the backend does not have them.
    var statistics: (any StatisticsFacet)? { get }
}

/// What a hypervisor backend is.
public struct HypervisorInfo: Sendable, Codable, Hashable {
    /// The backend's name, for example `qemu`.
    public var name: String
    /// The version of the hypervisor and of the library between, for people.
    public var version: String
    /// Its optional abilities.
    public var features: Set<Feature>
    /// The disk formats a machine can have.
    public var diskFormats: [ImageFormat]
    /// Those of them that can hold a snapshot; nil is all.
    public var snapshotFormats: [ImageFormat]?
    /// The most virtual processors a machine can have.
    public var maximumCPUs: Int
    /// Whether guests' code is translated before it runs, so that all that runs for the first time after a start or a restore of
    /// memory is slow; nil is no.
    public var translatesCode: Bool?
    /// Describes a backend.
    public init(
        name: String, version: String, features: Set<Feature>, diskFormats: [ImageFormat],
        snapshotFormats: [ImageFormat]? = nil, maximumCPUs: Int, translatesCode: Bool? = nil
    ) {
        self.name = name
        self.version = version
        self.features = features
        self.diskFormats = diskFormats
        self.snapshotFormats = snapshotFormats
        self.maximumCPUs = maximumCPUs
        self.translatesCode = translatesCode
    }
}

/// A machine in a listing.
public struct MachineSummary: Sendable, Codable, Hashable {
    /// The machine's name.
    public var id: MachineID
    /// Its state when the list was made.
    public var state: MachineState
    /// Pairs the two.
    public init(id: MachineID, state: MachineState) {
        self.id = id
        self.state = state
    }
}

/// The state of a machine.
public enum MachineState: String, Sendable, Codable, Hashable, CaseIterable {
    /// Made, never started.
    case defined
    /// The guest runs.
    case running
    /// The guest stands still, its memory kept.
    case paused
    /// Powered off, by itself or by us.
    case stopped
    /// The hypervisor's process died or the guest panicked.
    case crashed
    /// The backend does not answer for it any more.
    case lost
    /// Destroyed.
    case gone
}

/// How a machine is stopped.
public enum StopMode: Sendable, Codable, Hashable {
    /// Ask the guest, force it after this time.
    case graceful(within: Duration)
    /// Cut the power.
    case force

    /// Reads `{"graceful": milliseconds}` or `"force"`.
    public init(from decoder: any Decoder) throws {
        if let text = try? decoder.singleValueContainer().decode(String.self), text == "force" {
            self = .force
        } else {
            let values = try decoder.singleValueContainer().decode([String: Int64].self)
            self = .graceful(within: .milliseconds(values["graceful"] ?? 0))
        }
    }
    /// Writes `{"graceful": milliseconds}` or `"force"`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .force: try container.encode("force")
        case .graceful(let within): try container.encode(["graceful": within.milliseconds])
        }
    }
}

/// Something that happened to a machine.
public enum MachineEvent: Sendable, Codable, Hashable {
    /// It has a new state.
    case state(MachineState)
    /// It was destroyed; the last event.
    case gone
    /// The backend answers no more; the last event.
    case lost(BackendError)
}
