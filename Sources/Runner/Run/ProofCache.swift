import Abstractions
import FoundationEssentials
import Host

/// Proofs that a hypervisor really boots a guest, each asked for once and kept until the host boots again.
///
/// That a hypervisor is there and answers proves nothing: it may run a guest for ever without getting anywhere.
struct ProofCache: Sendable {
    /// Where proofs are kept.
    let folder: HostPath
    /// Told when a proof begins, since it takes a while.
    let note: @Sendable (String) -> Void

    private struct Entry: Codable {
        var key: String
        var findings: [Finding]
    }

    /// Passes when the proof finds nothing bad.
    ///
    /// - Throws: `unavailable` with the bad finding; what the backend says.
    func require(_ hypervisor: any Hypervisor, _ info: HypervisorInfo, _ image: GuestImage) async throws {
        guard !info.features.contains(.simulated) else { return }
        let findings = try await findings(hypervisor, info, image)
        guard let bad = findings.first(where: { $0.status == .bad }) else { return }
        throw BackendError(
            .unavailable, "resolve", "does not prove itself: \(bad.subject): \(bad.detail)", backend: info.name,
            blame: .host)
    }

    private func findings(
        _ hypervisor: any Hypervisor, _ info: HypervisorInfo, _ image: GuestImage
    ) async throws -> [Finding] {
        let boot = (try? HostFiles.readText("/proc/sys/kernel/random/boot_id")) ?? ""
        let key = [info.name, info.version, image.identity, boot].joined(separator: " ")
        let file = folder.appending("\(info.name).json")
        if let bytes = try? HostFiles.read(file, limit: 1 << 20),
            let entry = try? JSONDecoder().decode(Entry.self, from: Data(bytes)), entry.key == key
        {
            return entry.findings
        }
        note("\(info.name) proves that it boots a guest; once until this host boots again")
        let late = BackendError(.timeout, "resolve", "did not prove itself within 2 min", backend: info.name)
        let found = try await abandoning(at: .now + .seconds(120), late) { try await hypervisor.check(.proof) }
        // Without it the next run asks again.
        try? HostFiles.makeDirectories(folder)
        try? HostFiles.write(try JSONText.encode(Entry(key: key, findings: found), pretty: false), to: file)
        return found
    }
}
