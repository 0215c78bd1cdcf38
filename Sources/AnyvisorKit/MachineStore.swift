import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Where the machines of the `vm` verbs live between commands: one folder for each user.
package struct MachineStore: Sendable {
    /// Overlays and console logs.
    package let folder: HostPath
    /// The root of the embedded driver, whose sockets need a short path.
    package let libvirtRoot: HostPath

    /// Makes the folders.
    ///
    /// - Throws: what the host says; `permissionDenied` when the short folder is somebody else's.
    package init() throws {
        folder = HostEnvironment.state.appending("vm")
        libvirtRoot = HostPath("/var/tmp/av-\(getuid())-vm")
        try HostFiles.makeDirectories(folder, mode: 0o700)
        if mkdir(libvirtRoot.string, 0o700) != 0 {
            var info = stat()
            guard lstat(libvirtRoot.string, &info) == 0, info.st_mode & S_IFMT == S_IFDIR, info.st_uid == getuid()
            else {
                throw BackendError(
                    .permissionDenied, "vm", "\(libvirtRoot) is not a folder of yours; remove it", blame: .host)
            }
        }
    }

    /// Mark of all machines that these verbs made.
    package var owner: OwnerTag { "anyvisor-vm-" }
    /// The domain's name of a machine.
    package func id(_ name: String) -> MachineID { MachineID("anyvisor-vm-\(name)") }
    /// The name that the user gave.
    package func name(_ id: MachineID) -> String { String(id.rawValue.dropFirst(owner.rawValue.count)) }
    /// The machine's own disk over an image.
    package func overlay(_ name: String) -> HostPath { folder.appending("\(name).qcow2") }
    /// The machine's console log.
    package func console(_ name: String) -> HostPath { folder.appending("\(name).console") }

    /// Removes a machine's own files.
    package func forget(_ name: String) {
        for path in [overlay(name), console(name)] { try? HostFiles.removeTree(path) }
    }

    /// Waits for the other `vm` verbs of this user: the embedded driver allows one process for each root.
    ///
    /// - Throws: `inUse` after a minute.
    package func lock() async throws -> FileLock {
        try await FileLock.waiting(for: folder.appending("lock"), within: .seconds(60))
    }
}
