/// What a disk backend is.
public struct DiskAccessInfo: Sendable, Codable, Hashable {
    /// The backend's name, for example `direct`.
    public var name: String
    /// Its version and its library's, for people.
    public var version: String
    /// Its optional abilities.
    public var features: Set<Feature>
    /// The image formats it opens.
    public var formats: [ImageFormat]
    /// Those of them that it only reads, whatever `features` says: opening one for writing is `unsupported`.
    public var readOnlyFormats: [ImageFormat]
    /// The file systems it reads, by the names that `blkid` uses.
    public var fileSystems: [String]
    /// Describes a backend.
    public init(
        name: String, version: String, features: Set<Feature>, formats: [ImageFormat],
        readOnlyFormats: [ImageFormat] = [], fileSystems: [String]
    ) {
        self.name = name
        self.version = version
        self.features = features
        self.formats = formats
        self.readOnlyFormats = readOnlyFormats
        self.fileSystems = fileSystems
    }

    /// Reads a description; one without `readOnlyFormats` has none.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.decode(String.self, forKey: .name)
        version = try fields.decode(String.self, forKey: .version)
        features = try fields.decode(Set<Feature>.self, forKey: .features)
        formats = try fields.decode([ImageFormat].self, forKey: .formats)
        readOnlyFormats = try fields.decodeIfPresent([ImageFormat].self, forKey: .readOnlyFormats) ?? []
        fileSystems = try fields.decode([String].self, forKey: .fileSystems)
    }
}

/// How an image is opened.
public enum AccessMode: String, Sendable, Codable, Hashable {
    /// Changes nothing.
    case readOnly
    /// Alone, with commit.
    case readWrite
}

/// A part of a disk that can hold a file system.
public struct Volume: Sendable, Codable, Hashable {
    /// Its name.
    public var id: VolumeID
    /// Its first byte on the disk.
    public var offset: ByteCount
    /// Its size.
    public var size: ByteCount
    /// The file system's name by `blkid`'s usage (`ext4`, `vfat`, `swap`); nil when none is known there.
    public var fileSystem: String?
    /// The file system's label, when it has one.
    public var label: String?
    /// The name that the partition table gives it, when it does.
    public var name: String?
    /// What is wrong with the partition table, for people; a disk whose table needs repair is read, but not written.
    public var warning: String?
    /// Describes a volume.
    public init(
        id: VolumeID, offset: ByteCount, size: ByteCount, fileSystem: String?, label: String?, name: String? = nil,
        warning: String? = nil
    ) {
        self.id = id
        self.offset = offset
        self.size = size
        self.fileSystem = fileSystem
        self.label = label
        self.name = name
        self.warning = warning
    }
}

/// What a path is.
public enum FileKind: String, Sendable, Codable, Hashable, CaseIterable {
    /// A regular file.
    case file
    /// A folder.
    case directory
    /// A symbolic link.
    case symlink
    /// A block device node.
    case blockDevice
    /// A character device node.
    case characterDevice
    /// A named pipe.
    case fifo
    /// A socket.
    case socket
}

/// What is at a path.
public struct FileStat: Sendable, Codable, Hashable {
    /// Its kind.
    public var kind: FileKind
    /// Its apparent size; a link's is the length of its text.
    public var size: ByteCount
    /// The lower 12 bits: permissions, setuid, setgid, sticky.
    public var mode: UInt32
    /// The owner's number.
    public var uid: UInt32
    /// The group's number.
    public var gid: UInt32
    /// Last change of the content, in nanoseconds since 1970.
    public var modifiedNanoseconds: Int64
    /// The number of names it has.
    public var links: Int
    /// A symbolic link's text.
    public var target: String?
    /// Describes a path.
    public init(
        kind: FileKind, size: ByteCount, mode: UInt32, uid: UInt32 = 0, gid: UInt32 = 0,
        modifiedNanoseconds: Int64 = 0, links: Int = 1, target: String? = nil
    ) {
        self.kind = kind
        self.size = size
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.modifiedNanoseconds = modifiedNanoseconds
        self.links = links
        self.target = target
    }
}

extension FileStat {
    /// A time in nanoseconds since 1970; what Int64 cannot hold, before 1677 and after 2262, is brought to its nearest end.
    public static func nanoseconds(seconds: Int64, rest: Int64) -> Int64 {
        let (whole, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflows { return seconds < 0 ? .min : .max }
        let (sum, overflowsToo) = whole.addingReportingOverflow(rest)
        return overflowsToo ? (rest < 0 ? .min : .max) : sum
    }
}

/// A name in a folder.
public struct DirectoryEntry: Sendable, Codable, Hashable {
    /// The name, by `GuestPath`'s rule for bytes.
    public var name: String
    /// What it names.
    public var stat: FileStat
    /// Pairs the two.
    public init(name: String, stat: FileStat) {
        self.name = name
        self.stat = stat
    }
}

/// Part of a folder's listing.
public struct DirectoryPage: Sendable, Codable, Hashable {
    /// At most 1,000 entries, without `.` and `..`.
    public var entries: [DirectoryEntry]
    /// The name to pass as `after` for the next page; nil at the end.
    public var next: String?
    /// Holds a page.
    public init(entries: [DirectoryEntry], next: String?) {
        self.entries = entries
        self.next = next
    }
}

/// What may come out of an image.
public enum CopyPolicy: Sendable, Codable, Hashable {
    /// People's own images: links recreated as links, times and modes kept, owners when root; nodes, sockets and pipes refused.
    case faithful
    /// What comes out of a run: regular files and folders only, modes 0644, 0755 and folders 0755, no setuid; the rest refused.
    case untrusted(CopyLimits)
}

/// The quota of an untrusted copy.
public struct CopyLimits: Sendable, Codable, Hashable {
    /// Most apparent bytes in all.
    public var bytes: ByteCount
    /// Most files and folders.
    public var files: Int
    /// Deepest folder below the copied one.
    public var depth: Int
    /// Sets a quota.
    public init(bytes: ByteCount = .gib(1), files: Int = 100_000, depth: Int = 64) {
        self.bytes = bytes
        self.files = files
        self.depth = depth
    }
}

/// How a host tree goes into an image.
public struct CopyInOptions: Sendable, Codable, Hashable {
    /// Owner that all copied files get; nil keeps the host's numbers.
    public var uid: UInt32?
    /// Group that all copied files get; nil keeps the host's numbers.
    public var gid: UInt32?
    /// Chooses the owners.
    public init(uid: UInt32? = nil, gid: UInt32? = nil) {
        self.uid = uid
        self.gid = gid
    }
}

/// What a copy did.
public struct CopyReport: Sendable, Codable, Hashable {
    /// Apparent bytes copied.
    public var bytes: Int64
    /// Regular files copied.
    public var files: Int64
    /// What was left out, in the order met; at most 1,000 are listed, the rest is counted.
    public var refused: [RefusedEntry]
    /// How many were left out in all.
    public var refusedCount: Int64
    /// Reports a copy.
    public init(bytes: Int64 = 0, files: Int64 = 0, refused: [RefusedEntry] = [], refusedCount: Int64 = 0) {
        self.bytes = bytes
        self.files = files
        self.refused = refused
        self.refusedCount = refusedCount
    }

    /// Notes something that was left out.
    public mutating func refuse(_ path: String, _ reason: String) {
        refusedCount += 1
        if refused.count < 1_000 { refused.append(RefusedEntry(path: path, reason: reason)) }
    }
}

/// Something that a copy left out.
public struct RefusedEntry: Sendable, Codable, Hashable {
    /// Where it was, relative to what was copied.
    public var path: String
    /// Why, for example `symbolic link` or `deeper than 64 folders`.
    public var reason: String
    /// Pairs the two.
    public init(path: String, reason: String) {
        self.path = path
        self.reason = reason
    }
}

/// A change to a file's metadata; nil leaves a field as it is.
public struct MetadataChange: Sendable, Codable, Hashable {
    /// The lower 12 bits of the mode.
    public var mode: UInt32?
    /// The owner's number.
    public var uid: UInt32?
    /// The group's number.
    public var gid: UInt32?
    /// Last change of the content, in nanoseconds since 1970.
    public var modifiedNanoseconds: Int64?
    /// Describes a change.
    public init(mode: UInt32? = nil, uid: UInt32? = nil, gid: UInt32? = nil, modifiedNanoseconds: Int64? = nil) {
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.modifiedNanoseconds = modifiedNanoseconds
    }
}
