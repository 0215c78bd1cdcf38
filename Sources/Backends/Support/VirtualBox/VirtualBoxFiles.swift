import Abstractions
import Host

/// The files of a machine that stand for what VirtualBox does not take as it is: raw disks, and a kernel of the host.
///
/// ```
/// FOLDER/disk0.vmdk    stands for a raw image
///        kernel.iso    boots a kernel of the host, by the settings in kernel.cfg
/// ```
package struct VirtualBoxFiles: Sendable, Hashable {
    /// Where they are: a folder of this machine's own, which exists when they are made.
    package let folder: HostPath

    /// Names the folder.
    package init(in folder: HostPath) { self.folder = folder }

    /// The CD that boots a kernel of the host.
    package var kernelDisc: HostPath { folder.appending("kernel.iso") }
    private var kernelSettings: HostPath { folder.appending("kernel.cfg") }
    /// What stands for the raw image of a disk.
    package func descriptor(_ number: Int) -> HostPath { folder.appending("disk\(number).vmdk") }

    /// Makes them.
    ///
    /// - Throws: `invalidArgument` for a raw image or a kernel's command line that VirtualBox could not take, what the host says.
    package func make(for spec: MachineSpec) async throws {
        for (number, disk) in spec.disks.enumerated() where disk.image.format == .raw {
            let text = try RawDisk(disk.image.path).descriptor(uuid: randomUUID())
            try HostFiles.write(Array(text.utf8), to: descriptor(number))
        }
        guard case .kernel(let boot) = spec.boot else { return }
        try await KernelDisc(boot: boot).write(to: kernelDisc, settingsFile: kernelSettings)
    }

    /// The machine with these files in the places of what they stand for.
    package func standing(in spec: MachineSpec) -> MachineSpec {
        var spec = spec
        spec.disks = spec.disks.enumerated().map { number, disk in
            guard disk.image.format == .raw else { return disk }
            return DiskAttachment(
                DiskImage(path: descriptor(number), format: .vmdk), role: disk.role, readOnly: disk.readOnly)
        }
        if case .kernel = spec.boot { spec.boot = .cdrom(kernelDisc) }
        return spec
    }
}
