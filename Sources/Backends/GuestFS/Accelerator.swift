import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Starts appliances, with KVM where it is known to work.
///
/// That KVM is there proves nothing: it may run a BIOS and never a kernel. So the first start with it is a proof, whose outcome
/// holds until this host boots again; until then a failed one means TCG.
struct Accelerator: Sendable {
    /// What the option `kvm` says.
    enum Choice: String, Sendable {
        case auto, always = "true", never = "false"
    }

    private let choice: Choice
    private let proofs: HostPath

    /// - Parameter proofs: the folder of the proofs; the Runner keeps those of its hypervisors there too.
    init(_ choice: Choice, proofs: HostPath = HostEnvironment.cache.appending("proofs")) {
        self.choice = choice
        self.proofs = proofs
    }

    /// Starts an appliance. The library's errors hide their cause unless it is verbose: a start that failed is done again like that.
    ///
    /// - Throws: `crashed` with the cause, also when nobody wants it any more.
    func launch(_ admit: (RunningAppliance) -> Bool) throws -> RunningAppliance {
        switch choice == .auto ? verdict : choice == .always {
        case true?: return try patiently { try start(accelerated: true, verbose: $0, admit) }
        case false?: return try patiently { try start(accelerated: false, verbose: $0, admit) }
        case nil: break
        }
        let limit = Duration.seconds(20)
        let begun = ContinuousClock.now
        do {
            let appliance = try start(accelerated: true, verbose: false, within: limit, admit)
            remember(true)
            return appliance
        } catch let error as BackendError where error.code == .crashed {
            // One that ended sooner was ended by somebody, which tells nothing of KVM.
            if ContinuousClock.now - begun > limit { remember(false) }
            return try patiently { try start(accelerated: false, verbose: $0, admit) }
        }
    }

    private func patiently(_ start: (Bool) throws -> RunningAppliance) throws -> RunningAppliance {
        let begun = ContinuousClock.now
        do {
            return try start(false)
        } catch let error as BackendError where error.code == .crashed && ContinuousClock.now - begun < .seconds(20) {
            return try start(true)
        }
    }

    private func start(
        accelerated: Bool, verbose: Bool, within limit: Duration? = nil, _ admit: (RunningAppliance) -> Bool
    ) throws -> RunningAppliance {
        let appliance = try RunningAppliance(verbose: verbose)
        do {
            guard admit(appliance) else {
                throw BackendError(
                    .crashed, "disk.filesystem", "the session was given up before its appliance started", retry: .reopen
                )
            }
            try appliance.launch(accelerated: accelerated, within: limit)
            return appliance
        } catch {
            try? appliance.end()
            throw error
        }
    }

    // MARK: - What is known of KVM

    private struct Proof: Codable {
        var key: String
        var findings: [Finding]
    }

    private var file: HostPath { proofs.appending("libguestfs-kvm.json") }
    private var boot: String { (try? HostFiles.readText("/proc/sys/kernel/random/boot_id")) ?? "" }

    /// Whether KVM works; nil when nobody knows yet.
    private var verdict: Bool? {
        guard access("/dev/kvm", R_OK | W_OK) == 0 else { return false }
        // A proof of this backend says most; one of the hypervisor kvm that failed says enough.
        if let own = proof(file) { return own.findings.allSatisfy { $0.status == .good } }
        if let other = proof(proofs.appending("kvm.json")), other.findings.contains(where: { $0.isObstacle }) {
            return false
        }
        return nil
    }

    private func proof(_ file: HostPath) -> Proof? {
        guard let bytes = try? HostFiles.read(file, limit: 1 << 20),
            let proof = try? JSONDecoder().decode(Proof.self, from: Data(bytes)), proof.key.hasSuffix(boot)
        else { return nil }
        return proof
    }

    private func remember(_ works: Bool) {
        let detail = works ? "the appliance started" : "the appliance did not start within 20 s"
        let proof = Proof(key: "libguestfs \(boot)", findings: [Finding("kvm", works ? .good : .bad, detail)])
        // Without it the next process tries again.
        guard let bytes = try? JSONEncoder().encode(proof) else { return }
        try? HostFiles.makeDirectories(proofs)
        try? HostFiles.write(Array(bytes), to: file)
    }
}
