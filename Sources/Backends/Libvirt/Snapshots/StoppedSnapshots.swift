import Abstractions
import BackendSupport
import Host

/// Snapshots inside the disks of a domain that does not run, made by `qemu-img`. Blocks its thread.
struct StoppedSnapshots: DiskSnapshots {
    let files: [HostPath]
    let operation: String

    func create(_ tag: String) throws {
        for file in files { try run("-c", tag, file) }
    }

    /// Takes the disks back, and looks whether they are.
    ///
    /// - Throws: `notFound` when somebody else has removed the snapshot, `corrupt` when a disk is not what the snapshot holds.
    func restore(_ tag: String) throws {
        // All or none: whether each has it is known before the first one changes.
        try requirePresence(of: tag)
        for file in files { try run("-a", tag, file) }
        try verify(tag)
    }

    /// Refuses a snapshot that is not in every disk.
    ///
    /// - Throws: `notFound` that names the disk.
    func requirePresence(of tag: String) throws {
        for file in files where !(try QCOW2Snapshots(file).contains(tag)) { throw missing(file) }
    }

    /// Whether every disk is what the snapshot holds.
    ///
    /// - Throws: `corrupt` that names the first disk that is not, `notFound` when one does not have the snapshot.
    func verify(_ tag: String) throws {
        for file in files {
            guard let changed = try QCOW2Snapshots(file).changedParts(since: tag) else { throw missing(file) }
            guard changed == 0 else {
                throw BackendError(
                    .corrupt, operation,
                    "disk \(file) is not what the snapshot holds: \(changed) part\(changed == 1 ? "" : "s") of its block "
                        + "map differ\(changed == 1 ? "s" : "")", blame: .backend)
            }
        }
    }

    func delete(_ tag: String) throws {
        for file in files where try QCOW2Snapshots(file).contains(tag) { try run("-d", tag, file) }
    }

    /// Removes every snapshot whose tag begins like this.
    func deleteAll(_ prefix: String) throws {
        for file in files {
            for tag in try QCOW2Snapshots(file).tags where tag.hasPrefix(prefix) { try run("-d", tag, file) }
        }
    }

    private func missing(_ file: HostPath) -> BackendError {
        BackendError(.notFound, operation, "disk \(file) does not have the snapshot any more: somebody removed it")
    }

    private func run(_ verb: String, _ tag: String, _ file: HostPath) throws {
        // A comma ends an option's value, two stand for one.
        let name = file.string.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
        let options = "driver=qcow2,file.driver=file,file.filename=\(name)"
        let outcome = try waiting {
            try await Tool.run("qemu-img", ["snapshot", "-q", verb, tag, "--image-opts", options])
        }
        guard outcome.exit == .exited(0) else {
            let known = LibvirtFailure(code: 0, text: outcome.errors)
            throw BackendError(
                known.code, operation,
                "qemu-img snapshot of \(file): \(plainReason(outcome.errors))" + (known.remedy.map { "; \($0)" } ?? ""),
                blame: known.blame ?? .disk, retry: known.retry)
        }
    }
}
