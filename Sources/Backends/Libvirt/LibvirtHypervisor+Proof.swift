import Abstractions
import BackendSupport
import FoundationEssentials
import Host

extension LibvirtHypervisor {
    /// Runs real machines: a boot sector, then a 64-bit kernel where one is given.
    ///
    /// Real mode proves little: a KVM inside another hypervisor may run a BIOS for ever and never a kernel.
    func prove() async throws -> [Finding] {
        guard dialect.features.contains(.executesGuests) else {
            return [Finding("proof", .warning, "nothing to prove: this driver runs no guest")]
        }
        let folder = try RunScope.makeProcessFolder("proof")
        defer { try? HostFiles.removeTree(folder) }
        let sector = try await proveSector(folder)
        guard sector.status == .good else { return [sector] }
        return [sector, try await proveKernel(folder)]
    }

    private func proveSector(_ folder: HostPath) async throws -> Finding {
        let disk = folder.appending("proof.raw")
        try HostFiles.write(ProofSector.disk, to: disk)
        var spec = MachineSpec(id: proofName(1), memory: .mib(32))
        spec.disks = [DiskAttachment(DiskImage(path: disk, format: .raw), role: .system)]
        spec.consoleLog = folder.appending("sector.log")
        return try await MachineProof(hypervisor: self)
            .run("boot sector", spec, within: max(.seconds(30), dialect.kernelLimit / 2), mark: ProofSector.text)
    }

    private func proveKernel(_ folder: HostPath) async throws -> Finding {
        guard let place = options["proofImage"] else {
            return Finding(
                "64-bit kernel", .warning, "unproven: no kernel was booted",
                remedy: "`anyvisor image build tiny` makes one; name its folder in the option `proofImage`")
        }
        let image = HostPath(place)
        guard let description = try? HostFiles.read(image.appending("image.json")),
            let kernel = try? JSONDecoder().decode(ProofImage.self, from: Data(description)), let file = kernel.kernel
        else {
            return Finding(
                "64-bit kernel", .warning, "unproven: \(image) is not the folder of an image with a kernel",
                remedy: "anyvisor image build tiny")
        }
        var spec = MachineSpec(id: proofName(2), memory: .mib(256))
        // Without an IO disk the agent says so at once, and that it speaks is what is wanted.
        spec.boot = .kernel(
            .init(
                kernel: image.appending(file), initrd: kernel.initrd.map { image.appending($0) },
                commandLine: (kernel.commandLine ?? "") + " anyvisor.wait=1"))
        spec.consoleLog = folder.appending("kernel.log")
        return try await MachineProof(hypervisor: self)
            .run("64-bit kernel", spec, within: dialect.kernelLimit, mark: "@anyvisor:")
    }

    private func proofName(_ number: Int) -> MachineID {
        let owner = RunScope.current?.owner ?? "anyvisor-check-"
        return MachineID("\(owner)proof\(number)-\(UInt32.random(in: .min ... .max))")
    }
}

/// What a proof needs of an image's `image.json`.
private struct ProofImage: Decodable {
    var kernel: String?
    var initrd: String?
    var commandLine: String?
}
