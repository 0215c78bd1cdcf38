import Abstractions
import Clibvirt
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension LibvirtHypervisor {
    func check(_ depth: CheckDepth) async throws -> [Finding] {
        var findings = presence()
        if !findings.contains(where: { $0.isObstacle }) { findings.append(await connectionFinding()) }
        guard depth == .proof else { return findings }
        guard !findings.contains(where: { $0.isObstacle }) else { return findings }
        return findings + (try await prove())
    }

    private func presence() -> [Finding] {
        var findings = requirements
        do {
            if let program = try emulator() { findings.append(Finding(program.name, .good, program.string)) }
        } catch {
            let known = BackendError.wrapping(error, "check")
            findings.append(
                Finding(
                    dialect.emulator ?? "emulator", .bad, known.message,
                    remedy: "apt-get install qemu-system-x86 seabios"))
        }
        if case .embedded = dialect.home, options["uri"] == nil, geteuid() == 0, getpwnam("libvirt-qemu") == nil {
            findings.append(
                Finding(
                    "user libvirt-qemu", .bad, "libvirt's driver does not start as root without it",
                    remedy: "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin libvirt-qemu"))
        }
        return findings
    }

    private func connectionFinding() async -> Finding {
        do {
            let connection = try await connection()
            return Finding("libvirt", .good, "version \(LibvirtRuntime.version), \(connection.uri)")
        } catch {
            let known = BackendError.wrapping(error, "check")
            let isMissing = known.native?.text.contains("connection driver") ?? false
            return Finding(
                "libvirt", .bad, "\(known.message)",
                remedy: isMissing ? "apt-get install libvirt-daemon \(dialect.driverPackage)" : nil)
        }
    }
}
