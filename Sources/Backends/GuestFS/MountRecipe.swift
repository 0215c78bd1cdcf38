/// How the appliance's kernel is asked to mount a file system.
struct MountRecipe {
    /// The name that mount(8) takes.
    var type: String
    /// Its options in a read-only session.
    var reading: String
    /// Its options in a read-write session; nil: it can only be read.
    var writing: String?
    /// Whether it keeps owners and modes; one that does not drops a change of them without a word.
    var keepsOwners = true

    /// The recipe for a file system, by the name that `blkid` uses; nil for one that the appliance does not mount.
    ///
    /// A read-only session never replays a journal, and its disk is write-protected: what needs one is refused by the kernel.
    static func of(_ fileSystem: String?) -> MountRecipe? {
        switch fileSystem {
        // errors=remount-ro: an image that says errors=panic would end the appliance. noload: nothing is replayed.
        case "ext2", "ext3", "ext4":
            MountRecipe(type: "ext4", reading: "ro,noload", writing: "noatime,noinit_itable,errors=remount-ro")
        case "xfs": MountRecipe(type: "xfs", reading: "ro,nouuid", writing: "noatime,nouuid")
        case "btrfs": MountRecipe(type: "btrfs", reading: "ro", writing: "noatime")
        // quiet: owners and modes that it cannot keep must not end a copy.
        case "vfat": MountRecipe(type: "vfat", reading: "ro,utf8", writing: "noatime,utf8,quiet", keepsOwners: false)
        case "ntfs": MountRecipe(type: "ntfs-3g", reading: "ro", writing: "noatime", keepsOwners: false)
        case "iso9660": MountRecipe(type: "iso9660", reading: "ro", writing: nil)
        case "squashfs": MountRecipe(type: "squashfs", reading: "ro", writing: nil)
        default: nil
        }
    }

    /// The file systems that `of` knows.
    static let fileSystems = ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "ntfs", "iso9660", "squashfs"]
    /// A physical volume of LVM, whose logical volumes are volumes too.
    static let physicalVolume = "LVM2_member"
}
