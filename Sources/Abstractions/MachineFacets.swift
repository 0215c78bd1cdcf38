/// Reads the serial console.
public protocol ConsoleFacet: Sendable {
    /// Up to `count` bytes of all that the console printed since the machine was made; empty at the present end.
    ///
    /// - Throws: `invalidArgument` for a negative offset or count.
    func read(offset: Int64, count: Int) async throws -> [UInt8]
}

/// Snapshots of a machine. The IO disk is never part of one.
public protocol SnapshotFacet: Sendable {
    /// Takes a snapshot; legal in every state but `gone`. With memory only in `running` and `paused`.
    ///
    /// - Throws: `alreadyExists`, `invalidState`, `unsupported` for a scope the backend does not have or a disk whose format holds no
    ///   snapshot, `inUse` when another machine has one of the disks.
    func create(_ name: SnapshotID, scope: SnapshotScope) async throws
    /// All snapshots, parents before their children.
    func list() async throws -> [SnapshotSummary]
    /// Takes the machine back, and looks whether its disks are what the snapshot holds.
    ///
    /// Without memory the machine must not run, and is `stopped` (or `defined`) afterwards. With memory it may be in any state, and is
    /// as it was when the snapshot was taken: `running` or `paused`.
    /// - Throws: `notFound`, also when somebody else removed it; `invalidState`; `corrupt` when a disk is something else.
    func restore(_ name: SnapshotID) async throws
    /// Removes one; its children move to its parent.
    ///
    /// - Throws: `notFound`.
    func delete(_ name: SnapshotID) async throws
}

/// What a snapshot holds.
public enum SnapshotScope: String, Sendable, Codable, Hashable {
    /// The disks.
    case disk
    /// The disks and the running guest's memory.
    case diskAndMemory
}

/// A snapshot in a listing.
public struct SnapshotSummary: Sendable, Codable, Hashable {
    /// Its name.
    public var name: SnapshotID
    /// The snapshot it was taken on top of.
    public var parent: SnapshotID?
    /// What it holds.
    public var scope: SnapshotScope
    /// Whether the machine's disk stands on it.
    public var isCurrent: Bool
    /// Describes a snapshot.
    public init(name: SnapshotID, parent: SnapshotID?, scope: SnapshotScope, isCurrent: Bool) {
        self.name = name
        self.parent = parent
        self.scope = scope
        self.isCurrent = isCurrent
    }
}

/// Holds a guest still.
public protocol PauseFacet: Sendable {
    /// Legal in `running`; does nothing in `paused`; else `invalidState`.
    func pause() async throws
    /// Legal in `paused`; does nothing in `running`; else `invalidState`.
    func resume() async throws
}

/// Disks that come and go while the machine runs.
public protocol DiskHotplugFacet: Sendable {
    /// Attaches a disk after the others.
    ///
    /// - Throws: `alreadyExists` when the machine has this image, `invalidState` unless it runs or is paused.
    func attach(_ disk: DiskAttachment) async throws
    /// Takes a disk away; returns when the guest has let go.
    ///
    /// - Throws: `notFound` when the machine does not have this image.
    func detach(_ image: DiskImage) async throws
}

/// A picture of the machine's screen.
public protocol ScreenshotFacet: Sendable {
    /// Writes a picture to a new host file and says its media type, for example `image/png`.
    ///
    /// - Throws: `invalidState` unless it runs or is paused, `alreadyExists` when the file exists.
    func capture(to file: HostPath) async throws -> String
}

/// Counters of a running machine.
public protocol StatisticsFacet: Sendable {
    /// The counters now.
    func sample() async throws -> MachineStatistics
}

/// Counters of a machine; nil where the backend does not count.
public struct MachineStatistics: Sendable, Codable, Hashable {
    /// Host processor time used by the machine, in nanoseconds.
    public var cpuNanoseconds: Int64?
    /// Host memory in use, in bytes.
    public var memory: ByteCount?
    /// Bytes read from all disks.
    public var diskRead: ByteCount?
    /// Bytes written to all disks.
    public var diskWritten: ByteCount?
    /// Holds counters.
    public init(
        cpuNanoseconds: Int64? = nil, memory: ByteCount? = nil, diskRead: ByteCount? = nil,
        diskWritten: ByteCount? = nil
    ) {
        self.cpuNanoseconds = cpuNanoseconds
        self.memory = memory
        self.diskRead = diskRead
        self.diskWritten = diskWritten
    }
}
