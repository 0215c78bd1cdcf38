import Abstractions
import FoundationEssentials
import Host

/// Proofs that a hypervisor really boots a guest, each asked for once and kept until the host boots again.
/// An obstacle is proven again when what is here has changed.
///
/// That a hypervisor is there and answers proves nothing: it may run a guest for ever without getting anywhere.
package struct ProofCache: Sendable {
    /// Where proofs are kept.
    private let folder: HostPath
    /// Told when a proof begins, since it takes a while.
    private let note: @Sendable (String) -> Void

    private struct Entry: Codable {
        var key: String
        var findings: [Finding]
    }

    /// The proofs in anyvisor's cache folder.
    package init(cache: HostPath, note: @escaping @Sendable (String) -> Void) {
        folder = cache.appending("proofs")
        self.note = note
    }

    /// Passes when the proof finds nothing that stands against it.
    ///
    /// - Throws: `unavailable` with that finding; what the backend says.
    func require(_ hypervisor: any Hypervisor, _ info: HypervisorInfo, _ image: GuestImage) async throws {
        guard !info.features.contains(.simulated) else { return }
        let findings = try await findings(hypervisor, info, image)
        guard let bad = findings.first(where: { $0.isObstacle }) else { return }
        throw BackendError(
            .unavailable, "resolve",
            "does not prove itself: \(bad.subject): \(bad.detail); `anyvisor doctor --proof` tries it anew",
            backend: info.name, blame: .host)
    }

    /// Keeps what a proof has found, instead of what was found before. When it cannot be kept, the next run asks again.
    package func keep(_ findings: [Finding], of info: HypervisorInfo, _ image: GuestImage) {
        try? HostFiles.makeDirectories(folder)
        try? HostFiles.write(
            try JSONText.encode(Entry(key: key(info, image), findings: findings), pretty: false), to: file(info))
    }

    private func findings(
        _ hypervisor: any Hypervisor, _ info: HypervisorInfo, _ image: GuestImage
    ) async throws -> [Finding] {
        if let bytes = try? HostFiles.read(file(info), limit: 1 << 20),
            let entry = try? JSONDecoder().decode(Entry.self, from: Data(bytes)), entry.key == key(info, image),
            try await !hasChanged(hypervisor, since: entry.findings)
        {
            return entry.findings
        }
        note("\(info.name) proves that it boots a guest; once until this host boots again")
        let late = BackendError(.timeout, "resolve", "did not prove itself within 2 min", backend: info.name)
        let found = try await abandoning(at: .now + .seconds(120), late) { try await hypervisor.check(.proof) }
        keep(found, of: info, image)
        return found
    }

    /// Whether an obstacle may be gone, since what is here is not what it was: somebody has installed it, or loaded a module.
    private func hasChanged(_ hypervisor: any Hypervisor, since kept: [Finding]) async throws -> Bool {
        guard kept.contains(where: { $0.isObstacle }) else { return false }
        let now = try await hypervisor.check(.presence)
        return now.contains { finding in
            !kept.contains { $0.subject == finding.subject && $0.status == finding.status }
        }
    }

    private func file(_ info: HypervisorInfo) -> HostPath { folder.appending("\(info.name).json") }

    private func key(_ info: HypervisorInfo, _ image: GuestImage) -> String {
        let boot = (try? HostFiles.readText("/proc/sys/kernel/random/boot_id")) ?? ""
        return [info.name, info.version, image.identity, boot].joined(separator: " ")
    }
}
