import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

extension MachineSpec {
    /// The spec as a program with another working folder has to read it.
    public var withAbsolutePaths: MachineSpec {
        var spec = self
        spec.disks = disks.map { disk in
            DiskAttachment(
                disk.image.at(HostFiles.absolute(disk.image.path)), role: disk.role, readOnly: disk.readOnly)
        }
        spec.consoleLog = consoleLog.map(HostFiles.absolute)
        switch boot {
        case .disk: break
        case .cdrom(let image): spec.boot = .cdrom(HostFiles.absolute(image))
        case .kernel(let boot):
            spec.boot = .kernel(
                KernelBoot(
                    kernel: HostFiles.absolute(boot.kernel), initrd: boot.initrd.map(HostFiles.absolute),
                    commandLine: boot.commandLine))
        }
        return spec
    }

    /// The files of this host that the machine starts from.
    public var hostFiles: [HostPath] {
        let booted: [HostPath] =
            switch boot {
            case .disk: []
            case .cdrom(let image): [image]
            case .kernel(let boot): [boot.kernel] + [boot.initrd].compactMap(\.self)
            }
        return disks.map(\.image.path) + booted
    }

    /// Refuses what a hypervisor could not open, while nothing is made yet and the reason is plain.
    ///
    /// - Throws: what the host says about the first file that cannot be used.
    public func checkFiles() throws {
        func check(_ path: HostPath, _ what: String, _ mode: Int32) throws {
            guard access(path.string, mode) == 0 else {
                throw hostError("machine.create", "machine '\(id)': cannot use \(what) \(path)")
            }
            guard !HostFiles.isDirectory(path) else {
                throw BackendError(.invalidArgument, "machine.create", "machine '\(id)': \(what) \(path) is a folder")
            }
        }
        for disk in disks { try check(disk.image.path, "disk", disk.readOnly ? R_OK : R_OK | W_OK) }
        switch boot {
        case .disk: break
        case .cdrom(let image): try check(image, "cdrom", R_OK)
        case .kernel(let boot):
            try check(boot.kernel, "kernel", R_OK)
            if let initrd = boot.initrd { try check(initrd, "initramfs", R_OK) }
        }
    }

    /// Refuses an image whose redo log waits to be applied: it is not the image that it will be.
    ///
    /// - Throws: `inUse`.
    public static func refuseOpenRedoLogs(_ images: [HostPath]) throws {
        for file in images where HostFiles.exists(HostPath("\(file).redo")) {
            throw BackendError(
                .inUse, "machine.start",
                "disk \(file) has an unfinished write beside it (\(file.name).redo); any `anyvisor disk ls` of the image "
                    + "finishes it", blame: .disk)
        }
    }
}
