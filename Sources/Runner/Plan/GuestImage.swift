import Abstractions
import FoundationEssentials
import Host

/// An image as it lies in a folder of this host: files and `image.json`.
public struct GuestImage: Sendable, Hashable {
    /// Its name.
    public var name: String
    /// What tells one build from another: the hash of what it was built from, or size and time of a user's file.
    public var identity: String
    /// The folder it was built into; nil for a user's own disk.
    public var folder: HostPath?
    /// The system disk; nil: everything is in the initramfs.
    public var disk: DiskImage?
    /// The kernel the host gives; nil: it boots from its disk.
    public var kernel: MachineSpec.KernelBoot?
    /// The Python inside, nil when there is none.
    public var python: Python?
    /// The least memory it boots with.
    public var memoryMinimum: ByteCount

    /// The Python of a guest, which wheels must fit.
    public struct Python: Sendable, Hashable, Codable {
        /// For example `3.11`.
        public var version: String
        /// For example `cp311`.
        public var abi: String
        /// Platform tags, the best first.
        public var platforms: [String]
    }

    private struct Manifest: Decodable {
        var name: String
        var format: ImageFormat?
        var disk: String?
        var kernel: String?
        var initrd: String?
        var commandLine: String?
        var python: Python?
        var memoryMinimumMiB: Int64?
    }

    /// Reads the image in a folder; the folder's name is its identity.
    ///
    /// - Throws: `notFound` when a file of it is missing, `corrupt` for an `image.json` that is none.
    public init(folder: HostPath) throws {
        let path = folder.appending("image.json")
        let bytes = try HostFiles.read(path, limit: 1 << 20)
        let manifest: Manifest
        do {
            manifest = try JSONDecoder().decode(Manifest.self, from: Data(bytes))
        } catch {
            throw BackendError(
                .corrupt, "image", "\(path) cannot be understood, `anyvisor image build` makes it anew: \(error)")
        }
        func file(_ name: String) throws -> HostPath {
            let path = folder.appending(name)
            guard HostFiles.exists(path) else {
                throw BackendError(
                    .notFound, "image",
                    "image '\(manifest.name)' has lost \(path), `anyvisor image build` makes it anew")
            }
            return path
        }
        name = manifest.name
        identity = folder.name
        self.folder = folder
        disk = try manifest.disk.map { DiskImage(path: try file($0), format: manifest.format ?? .raw) }
        kernel = try manifest.kernel.map { kernel in
            MachineSpec.KernelBoot(
                kernel: try file(kernel), initrd: try manifest.initrd.map(file),
                commandLine: manifest.commandLine ?? "")
        }
        python = manifest.python
        memoryMinimum = .mib(manifest.memoryMinimumMiB ?? 1)
    }

    /// A disk image of the user's that boots by itself.
    ///
    /// - Throws: `notFound` when there is no such file.
    public init(disk: DiskImage) throws {
        guard let stamp = FileStamp(disk.path) else {
            throw BackendError(.notFound, "image", "image \(disk.path) does not exist")
        }
        name = disk.path.name
        identity = stamp.description
        self.disk = disk
        memoryMinimum = .mib(1)
    }
}

/// Where images come from: finds a built image, or builds it.
public struct ImageSource: Sendable {
    /// Names that `find` knows, for messages.
    public var names: @Sendable () -> [String]
    /// The built image of this name, built now when it is not there; may take minutes.
    public var find: @Sendable (_ name: String, _ note: @escaping @Sendable (String) -> Void) async throws -> GuestImage

    /// Wraps both functions.
    public init(
        names: @escaping @Sendable () -> [String],
        find: @escaping @Sendable (String, @escaping @Sendable (String) -> Void) async throws -> GuestImage
    ) {
        self.names = names
        self.find = find
    }
}

/// Makes a disposable disk over an image, in one of the formats given, inside a folder; the image is not changed.
public typealias OverlayMaker =
    @Sendable (_ base: DiskImage, _ folder: HostPath, _ formats: [ImageFormat]) async throws -> DiskImage
