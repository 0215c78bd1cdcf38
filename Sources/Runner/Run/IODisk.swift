import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The small disk that carries the job in and the results out: ext4 over the whole raw image, label `anyvisor-io`.
struct IODisk: Sendable {
    /// The image.
    let image: DiskImage
    /// Its size in bytes.
    let size: Int64

    /// Makes the disk, with room for `job` bytes of input and `results` bytes of results.
    ///
    /// - Parameter content: a folder of ours that is copied to it; without one it is empty.
    /// - Throws: `noSpace`, `unavailable` when mke2fs is not installed, what it says.
    static func make(at path: HostPath, job: Int64, results: Int64, content: HostPath? = nil) async throws -> IODisk {
        // Journal, inode tables and group descriptors take at most 4 % and 32 MiB.
        let wanted = job + results
        let mib = (wanted + wanted / 25 + (32 << 20) + (1 << 20) - 1) >> 20
        let descriptor = open(path.string, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw hostError("prepare", "cannot make \(path)") }
        defer { close(descriptor) }
        guard ftruncate(descriptor, off_t(mib << 20)) == 0 else { throw hostError("prepare", "cannot make \(path)") }
        _ = try await Tool.check(
            "mke2fs",
            [
                "-q", "-F", "-t", "ext4", "-L", "anyvisor-io", "-m", "0", "-E",
                "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard",
            ] + (content.map { ["-d", $0.string] } ?? []) + [path.string],
            deadline: CallDeadline.remaining ?? .seconds(60))
        return IODisk(image: DiskImage(path: path, format: .raw), size: mib << 20)
    }

    /// Replays the journal of a disk whose guest was cut off, then lets e2fsck settle the rest; no machine may have it open.
    ///
    /// - Throws: `corrupt` when it cannot be settled.
    func settle() async throws {
        let limit = Duration.seconds(60)
        let replay = try await Tool.run(
            "e2fsck", ["-f", "-y", "-E", "journal_only", image.path.string], deadline: limit)
        // e2fsck(8): 0 clean, 1 corrected, 2 corrected and wants a reboot; from 4 on something is left.
        if case .exited(let code) = replay.exit, code < 4 {
            let preen = try await Tool.run("e2fsck", ["-p", image.path.string], deadline: limit)
            if case .exited(let code) = preen.exit, code < 4 { return }
        }
        let full = try await Tool.run("e2fsck", ["-f", "-y", image.path.string], deadline: limit)
        guard case .exited(let code) = full.exit, code < 4 else {
            throw BackendError(
                .corrupt, "download", "the file system of the IO disk cannot be settled (e2fsck: \(full.exit))",
                blame: .guest, evidence: ["e2fsck": String(full.text.suffix(4096))])
        }
    }
}
