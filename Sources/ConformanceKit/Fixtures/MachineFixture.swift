import Abstractions
import Host

/// Makes the disks of machines: the `mini` boot sector and its IO disk where guests really run, empty ones elsewhere.
struct MachineFixture: Sendable {
    let info: HypervisorInfo
    /// A disk with the `mini` boot sector, raw; nil where no guest runs.
    let mini: HostPath?

    /// Builds `mini` from its source where the backend runs guests.
    ///
    /// - Parameter guestFolder: the project's `guest` folder.
    /// - Throws: what the build says.
    static func make(_ info: HypervisorInfo, guestFolder: HostPath?, folder: HostPath) async throws -> MachineFixture {
        guard info.features.contains(.executesGuests) else { return MachineFixture(info: info, mini: nil) }
        guard let script = guestFolder?.appending("images/mini/build.sh"), HostFiles.exists(script) else {
            throw BackendError(
                .notFound, "conformance", "guest/images/mini is not here, so machines cannot be tried", blame: .host)
        }
        let output = folder.appending("mini")
        _ = try await Tool.check("sh", [script.string, output.string])
        return MachineFixture(info: info, mini: output.appending("disk.raw"))
    }

    var format: ImageFormat { info.diskFormats.contains(.raw) ? .raw : info.diskFormats.first ?? .raw }

    /// A system disk: `mini`, or an empty one.
    ///
    /// - Parameters:
    ///   - snapshots: in a format that can hold a snapshot.
    ///   - boots: false for an empty one in any case.
    func systemDisk(at path: HostPath, snapshots: Bool = false, boots: Bool = true) async throws -> DiskAttachment {
        let able = info.snapshotFormats ?? info.diskFormats
        let format = snapshots && !able.contains(format) ? able.first ?? format : format
        let bytes = try boots ? mini.map { try HostFiles.read($0) } : nil
        try await convert(bytes ?? [UInt8](repeating: 0, count: 1 << 20), to: path, format)
        return DiskAttachment(DiskImage(path: path, format: format), role: .system)
    }

    /// A CD from which `mini` boots.
    ///
    /// - Throws: where no guest runs; what the host says.
    func cd(at path: HostPath) throws -> HostPath {
        let mini = try required(self.mini, "the guest 'mini'")
        try HostFiles.write(BootableCD(program: Array(try HostFiles.read(mini).prefix(512))).bytes, to: path)
        return path
    }

    /// An IO disk whose first sector is this text.
    func ioDisk(_ text: String, at path: HostPath) async throws -> DiskAttachment {
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        bytes.replaceSubrange(0..<text.utf8.count, with: text.utf8)
        try await convert(bytes, to: path, format)
        return DiskAttachment(DiskImage(path: path, format: format), role: .io)
    }

    private func convert(_ bytes: [UInt8], to path: HostPath, _ format: ImageFormat) async throws {
        guard format != .raw else { return try HostFiles.write(bytes, to: path) }
        let raw = HostPath(path.string + ".raw")
        try HostFiles.write(bytes, to: raw)
        defer { try? HostFiles.removeTree(raw) }
        _ = try await Tool.check(
            "qemu-img", ["convert", "-f", "raw", "-O", format.rawValue, raw.string, path.string])
    }

    /// What the guest left on an IO disk.
    func read(_ disk: DiskAttachment) async throws -> MiniDisk {
        guard disk.image.format != .raw else { return MiniDisk(try HostFiles.read(disk.image.path)) }
        let raw = HostPath(disk.image.path.string + ".read")
        defer { try? HostFiles.removeTree(raw) }
        _ = try await Tool.check(
            "qemu-img", ["convert", "-f", disk.image.format.rawValue, "-O", "raw", disk.image.path.string, raw.string])
        return MiniDisk(try HostFiles.read(raw))
    }
}

/// The IO disk of the `mini` guest; its layout stands in guest/images/mini/mini.S.
struct MiniDisk {
    /// Sector 1: the answer, up to its first zero byte.
    let answer: String
    /// Sector 2: how often the guest has run.
    let counter: UInt32

    init(_ bytes: [UInt8]) {
        answer = String(decoding: bytes.dropFirst(512).prefix(512).prefix { $0 != 0 }, as: UTF8.self)
        counter = bytes.dropFirst(1024).prefix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}
