/// A name or number that stands on the wire as a bare string.
public protocol StringIdentifier: RawRepresentable, Sendable, Codable, Hashable, CustomStringConvertible,
    ExpressibleByStringLiteral
where RawValue == String, StringLiteralType == String {
    /// Wraps the text as it is.
    init(rawValue: String)
}

extension StringIdentifier {
    /// Wraps the text as it is.
    public init(_ text: String) { self.init(rawValue: text) }
    /// Wraps a literal.
    public init(stringLiteral value: String) { self.init(rawValue: value) }
    /// Reads the bare string.
    public init(from decoder: any Decoder) throws {
        self.init(rawValue: try decoder.singleValueContainer().decode(String.self))
    }
    /// Writes the bare string.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
    /// The bare text.
    public var description: String { rawValue }
}

/// Name of a machine: `anyvisor-<run>-<n>` for those a run makes.
public struct MachineID: StringIdentifier {
    /// The domain's name.
    public var rawValue: String
    /// Wraps a name as it is.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// Whether it is 1 to 80 characters of `A-Z a-z 0-9 . _ -`, not starting with a dot or dash; what each hypervisor takes.
    public var isValid: Bool {
        let bytes = Array(rawValue.utf8)
        guard (1...80).contains(bytes.count), let first = bytes.first else { return false }
        let plain = { (byte: UInt8) in
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        }
        return plain(first) && bytes.allSatisfy { plain($0) || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f }
    }
}

/// The mark of whoever owns a machine: a name prefix, since VirtualBox has no metadata.
public struct OwnerTag: StringIdentifier {
    /// The prefix, for example `anyvisor-` or `anyvisor-<run>-`.
    public var rawValue: String
    /// Wraps a prefix as it is.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Every machine that anyvisor ever made.
    public static let anyvisor: OwnerTag = "anyvisor-"
    /// Whether the machine carries this mark.
    public func owns(_ machine: MachineID) -> Bool { machine.rawValue.hasPrefix(rawValue) }
}

/// A volume of a disk: `whole` for a file system without a partition table, else `p1`, `p2` ….
public struct VolumeID: StringIdentifier {
    /// The volume's name.
    public var rawValue: String
    /// Wraps a name as it is.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// The file system that fills the whole disk.
    public static let whole: VolumeID = "whole"
    /// The partition with this number, counted from 1.
    public static func partition(_ number: Int) -> VolumeID { VolumeID(rawValue: "p\(number)") }
}

/// Name of a snapshot.
public struct SnapshotID: StringIdentifier {
    /// The snapshot's name.
    public var rawValue: String
    /// Wraps a name as it is.
    public init(rawValue: String) { self.rawValue = rawValue }
}

/// An optional ability; open, so that a newer plugin's unknown feature is kept.
public struct Feature: StringIdentifier {
    /// The feature as it stands on the wire.
    public var rawValue: String
    /// Wraps a name as it is.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The machine has a `console` facet.
    public static let console: Feature = "console"
    /// The machine has a `snapshots` facet.
    public static let snapshots: Feature = "snapshots"
    /// Snapshots are also taken of a machine that runs; without it only of one that is off.
    public static let liveSnapshots: Feature = "liveSnapshots"
    /// The machine has a `pause` facet.
    public static let pause: Feature = "pause"
    /// The machine has a `disks` facet.
    public static let diskHotplug: Feature = "diskHotplug"
    /// The machine has a `screenshot` facet.
    public static let screenshot: Feature = "screenshot"
    /// The machine has a `statistics` facet.
    public static let statistics: Feature = "statistics"
    /// A machine really runs a guest; without it (libvirt's test driver) states are only bookkeeping.
    public static let executesGuests: Feature = "executesGuests"
    /// Machines can boot a kernel and an initramfs given by the host.
    public static let kernelBoot: Feature = "kernelBoot"
    /// A snapshot with memory is restored in place: the IO disk stays attached and keeps what was written to it meanwhile.
    public static let warmStart: Feature = "warmStart"
    /// What a guest does here is made up; a result must say so.
    public static let simulated: Feature = "simulated"
    /// A file system has a `writable` facet when opened for writing.
    public static let write: Feature = "write"
    /// A file system has a `mount` facet.
    public static let mount: Feature = "mount"
    /// Copies keep hard links.
    public static let hardLinks: Feature = "hardLinks"
    /// Copies keep holes.
    public static let sparse: Feature = "sparse"
    /// Owners and modes are kept in the guest's file system, whoever runs the program.
    public static let ownership: Feature = "ownership"
}

/// A disk image's format; open, so that a later one needs no change here.
public struct ImageFormat: StringIdentifier {
    /// The format's usual name, lower case.
    public var rawValue: String
    /// Wraps a name as it is.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Bytes as they are.
    public static let raw: ImageFormat = "raw"
    /// VirtualBox's disk image.
    public static let vdi: ImageFormat = "vdi"
    /// Virtual PC's and Hyper-V's disk image.
    public static let vhd: ImageFormat = "vhd"
    /// QEMU's copy on write image.
    public static let qcow2: ImageFormat = "qcow2"
    /// VMware's disk image.
    public static let vmdk: ImageFormat = "vmdk"
    /// Hyper-V's newer disk image.
    public static let vhdx: ImageFormat = "vhdx"
    /// A plain folder that plays a disk (example plugins).
    public static let folder: ImageFormat = "folder"
    /// The in-memory disk of the reference fake: a small text file with a tree in it.
    public static let memory: ImageFormat = "memory"
}
