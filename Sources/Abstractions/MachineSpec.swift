/// What a machine shall be.
public struct MachineSpec: Sendable, Codable, Hashable {
    /// Its name, which carries the owner's mark.
    public var id: MachineID
    /// Virtual processors, at least 1.
    public var cpus: Int
    /// Memory; at least 1 MiB.
    public var memory: ByteCount
    /// Where it boots from.
    public var boot: BootSource
    /// Its disks in order; the first is the system disk.
    public var disks: [DiskAttachment]
    /// Its network.
    public var network: NetworkPolicy
    /// Host file that receives the serial console; nil: none is kept.
    public var consoleLog: HostPath?

    /// Describes a machine.
    public init(
        id: MachineID, cpus: Int = 1, memory: ByteCount = .mib(512), boot: BootSource = .disk,
        disks: [DiskAttachment] = [], network: NetworkPolicy = .none, consoleLog: HostPath? = nil
    ) {
        self.id = id
        self.cpus = cpus
        self.memory = memory
        self.boot = boot
        self.disks = disks
        self.network = network
        self.consoleLog = consoleLog
    }

    /// Where a machine boots from.
    public enum BootSource: Sendable, Codable, Hashable {
        /// Its first disk.
        case disk
        /// A kernel of the host.
        case kernel(KernelBoot)
        /// An ISO image.
        case cdrom(HostPath)
    }

    /// A kernel that the hypervisor loads itself.
    public struct KernelBoot: Sendable, Codable, Hashable {
        /// The kernel's file.
        public var kernel: HostPath
        /// The initramfs, when there is one.
        public var initrd: HostPath?
        /// The kernel's command line.
        public var commandLine: String
        /// Names the three.
        public init(kernel: HostPath, initrd: HostPath?, commandLine: String) {
            self.kernel = kernel
            self.initrd = initrd
            self.commandLine = commandLine
        }
    }

    /// What network a guest sees.
    public enum NetworkPolicy: String, Sendable, Codable, Hashable, CaseIterable {
        /// None at all.
        case none
        /// The host's, behind a user-mode NAT without forwarded ports.
        case user
    }

    /// Refuses what no hypervisor can make.
    ///
    /// - Throws: `invalidArgument` that names the field.
    public func validate() throws {
        func refuse(_ message: String) -> BackendError { BackendError(.invalidArgument, "machine.create", message) }
        guard id.isValid else {
            throw refuse("machine name '\(id)' is not 1 to 80 letters, digits, dots, underscores or dashes")
        }
        guard cpus >= 1 else { throw refuse("machine '\(id)' needs at least 1 cpu, not \(cpus)") }
        guard memory >= .mib(1) else { throw refuse("machine '\(id)' needs at least 1 MiB of memory, not \(memory)") }
        if boot == .disk, disks.isEmpty { throw refuse("machine '\(id)' boots from disk but has none") }
        let paths = disks.map(\.image.path)
        guard Set(paths).count == paths.count else { throw refuse("machine '\(id)' has the same image twice") }
    }
}

/// A disk image and how to read it.
public struct DiskImage: Sendable, Codable, Hashable {
    /// The image's file.
    public var path: HostPath
    /// Its format, explicit; never sniffed for a writable open.
    public var format: ImageFormat
    /// Folders in which the parents of a snapshot layer are searched, besides those around the image; nil is none.
    public var parentFolders: [HostPath]?
    /// The snapshot inside the image that is meant, which can only be read; nil is the present state.
    public var snapshot: String?
    /// Whether it is read although somebody may be writing to it, with what is there at that moment; never for writing. Nil is no.
    public var forceStale: Bool?
    /// Names an image.
    public init(path: HostPath, format: ImageFormat, parentFolders: [HostPath]? = nil, snapshot: String? = nil) {
        self.path = path
        self.format = format
        self.parentFolders = parentFolders
        self.snapshot = snapshot
    }

    /// The same image under another path.
    public func at(_ path: HostPath) -> DiskImage {
        var image = self
        image.path = path
        return image
    }
}

/// A disk of a machine.
public struct DiskAttachment: Sendable, Codable, Hashable {
    /// The image.
    public var image: DiskImage
    /// What it is for.
    public var role: Role
    /// Whether the guest may not write.
    public var readOnly: Bool
    /// Attaches an image.
    public init(_ image: DiskImage, role: Role, readOnly: Bool = false) {
        self.image = image
        self.role = role
        self.readOnly = readOnly
    }

    /// What a disk is for.
    public enum Role: String, Sendable, Codable, Hashable {
        /// Boots the machine; snapshotted and disposable.
        case system
        /// Carries the job in and the results out; never in a snapshot.
        case io
    }
}
