import Abstractions
import BackendSupport
import Host

extension VBoxManageHypervisor {
    func check(_ depth: CheckDepth) async throws -> [Finding] {
        try checkOpen("hypervisor.check")
        let findings = await presence()
        guard depth == .proof, !findings.contains(where: { $0.isObstacle }) else { return findings }
        return findings + [try await prove()]
    }

    private func presence() async -> [Finding] {
        do {
            let version = try await version("check")
            var findings = [Finding("VBoxManage", .good, "VirtualBox \(version), \(tool.program)")]
            if (version.split(separator: ".").first.flatMap { Int($0) } ?? 0) < 7 {
                findings = [
                    Finding("VBoxManage", .bad, "VirtualBox \(version) is too old", remedy: VBoxManageTool.remedy)
                ]
            }
            if HostFiles.exists("/dev/vboxdrv") {
                findings.append(Finding("/dev/vboxdrv", .good, "VirtualBox's kernel module"))
            } else {
                findings.append(
                    Finding(
                        "/dev/vboxdrv", .warning, "VirtualBox's kernel module is not loaded; most machines need it",
                        remedy: "modprobe vboxdrv, after installing virtualbox-dkms"))
            }
            if !KernelDisc.isPossible {
                findings.append(
                    Finding(
                        "kernel boot", .warning, "no CD can be made that boots a kernel of the host",
                        remedy: KernelDisc.remedy))
            }
            return findings
        } catch {
            return [
                Finding(
                    "VBoxManage", .bad, BackendError.wrapping(error, "check").message, remedy: VBoxManageTool.remedy)
            ]
        }
    }

    /// Runs a real machine: a boot sector. A 64-bit kernel stays unproven: VirtualBox may take minutes for it.
    private func prove() async throws -> Finding {
        let folder = try RunScope.makeProcessFolder("proof")
        defer { try? HostFiles.removeTree(folder) }
        let disk = folder.appending("proof.raw")
        try HostFiles.write(ProofSector.disk, to: disk)
        let owner = RunScope.current?.owner ?? "anyvisor-check-"
        var spec = MachineSpec(id: MachineID("\(owner)proof-\(UInt32.random(in: .min ... .max))"), memory: .mib(32))
        spec.disks = [DiskAttachment(DiskImage(path: disk, format: .raw), role: .system)]
        return try await MachineProof(hypervisor: self)
            .run("boot sector", spec, within: .seconds(60), mark: ProofSector.text)
    }
}
