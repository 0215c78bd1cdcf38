import Abstractions
import Host

/// What this machine's kernel can mount.
enum KernelFileSystems {
    /// The kernel's name of a file system that `blkid` calls `type`.
    static func name(of type: String) -> String { type == "ntfs" ? "ntfs3" : type }

    /// Whether the kernel has it, or a module for it, which mount(2) loads.
    static func has(_ type: String) -> Bool {
        let name = name(of: type)
        let known = (try? HostFiles.readText("/proc/filesystems")) ?? ""
        if known.split(separator: "\n").contains(where: { $0 == "\t\(name)" }) { return true }
        guard let program = HostEnvironment.program("modprobe") else { return false }
        let child = try? ChildProcess(
            program, ["-n", "-q", "fs-\(name)"], environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"],
            output: .null, errors: .null)
        return child?.wait() == .exited(0)
    }

    /// Options with which it is mounted.
    ///
    /// Nothing is replayed on a disk that is only read, an image whose copy is mounted elsewhere does no harm, and no image stops
    /// this host. FAT keeps neither owners nor modes: `quiet` lets a copy go on without them.
    static func options(_ type: String, _ mode: AccessMode) -> String {
        switch type {
        // errors=remount-ro: an image that says errors=panic would stop this host.
        case "ext2", "ext3", "ext4": "errors=remount-ro," + (mode == .readOnly ? "noload" : "noinit_itable")
        case "xfs": "nouuid"
        case "vfat": "quiet,utf8=1,errors=remount-ro"
        default: ""
        }
    }

    /// The tool that looks for damage.
    static func checker(of type: String) -> String {
        switch type {
        case "ext2", "ext3", "ext4": "e2fsck"
        case "xfs": "xfs_repair"
        case "btrfs": "btrfs check"
        case "vfat": "fsck.fat"
        case "ntfs": "ntfsfix"
        default: "its own checker"
        }
    }
}
