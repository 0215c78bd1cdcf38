import Abstractions

/// One backend in one kind of process.
public struct ConformanceCell: Sendable {
    /// Where a backend's code runs.
    public enum Isolation: String, Sendable, CaseIterable {
        /// In this process.
        case inline
        /// In its plugin's process.
        case process
    }

    /// The backend: its own descriptor, or that of its plugin's manifest.
    public let descriptor: BackendDescriptor
    /// Where it runs.
    public let isolation: Isolation
    /// Options that the suite gives it.
    public let options: [String: String]

    /// Names a cell.
    public init(_ descriptor: BackendDescriptor, _ isolation: Isolation, options: [String: String] = [:]) {
        self.descriptor = descriptor
        self.isolation = isolation
        self.options = options
    }

    /// `hypervisor qemu process`, as in the file of required cells.
    public var name: String { "\(descriptor.kind.rawValue) \(descriptor.name) \(isolation.rawValue)" }
}

/// What the suite needs from its surroundings.
public struct ConformanceSettings: Sendable {
    /// A folder for everything temporary; the caller removes it.
    public var folder: HostPath
    /// The project's `guest` folder, from which `mini` is built; nil: backends that run guests are skipped.
    public var guestFolder: HostPath?
    /// Only cases whose group or sentence has this text.
    public var filter: String?
    /// Only images of these kinds, by the names of `DiskKind.all`; nil: all that a disk backend has.
    public var formats: [String]?
    /// Whether every disk case runs over every kind of image; else that is so for a backend's first kind, and the others get the
    /// cases that look at what an image is made of.
    public var isFull: Bool
    /// The longest time for one case. It finds a hang; what only gets little of a busy host must not reach it.
    public var caseLimit: Duration
    /// Ends a cell at its first failed case.
    public var stopsAtFailure = false

    /// Settles everything.
    public init(
        folder: HostPath, guestFolder: HostPath? = nil, filter: String? = nil, formats: [String]? = nil,
        isFull: Bool = false, caseLimit: Duration = .seconds(300)
    ) {
        self.folder = folder
        self.guestFolder = guestFolder
        self.filter = filter
        self.formats = formats
        self.isFull = isFull
        self.caseLimit = caseLimit
    }
}

/// What became of a cell.
public struct CellReport: Sendable {
    /// The cell's name.
    public let name: String
    /// Why the cell was not tried at all; nil when it was.
    public let skipped: String?
    /// Its cases, with the image format where there are several.
    public let results: [CaseResult]
    /// How long it took.
    public let duration: Duration

    /// How many cases hold.
    public var passed: Int { results.count { $0.outcome == .passed } }
    /// The cases that do not hold, with what was seen.
    public var failures: [(name: String, reason: String)] {
        results.compactMap { if case .failed(let reason) = $0.outcome { ($0.name, reason) } else { nil } }
    }
    /// The cases that were not tried, with the reason.
    public var skips: [(name: String, reason: String)] {
        results.compactMap { if case .skipped(let reason) = $0.outcome { ($0.name, reason) } else { nil } }
    }
}
