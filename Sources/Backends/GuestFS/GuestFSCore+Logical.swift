import Abstractions
import BackendSupport
import CGuestfs
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

// Logical volumes of LVM, named `GROUP/VOLUME`; the appliance finds and opens them.

extension GuestFSCore {
    /// The path of a logical volume in the appliance.
    static func device(ofLogical volume: VolumeID) -> String { "/dev/\(volume)" }

    /// The logical volumes, opened, each with the offset of what holds the first of them, since its own bytes may lie in pieces; none on a disk without LVM, for which no appliance is started.
    ///
    /// - Throws: `unavailable`, `crashed`, `internal`.
    func logicalVolumes() throws -> [Volume] {
        if let logical { return logical }
        let physical = view.volumes.filter { $0.fileSystem == MountRecipe.physicalVolume }
        guard let first = physical.first else { return [] }
        let appliance = try launched()
        let guest = appliance.guest
        for volume in physical { try guest.waitFor(try plug(volume.id, appliance)) }
        isLogicalOpen = true
        try guest.check(guestfs_lvm_scan(guest.pointer, 1), "disk.volumes", "LVM cannot look at the disk")
        try guest.check(guestfs_vg_activate_all(guest.pointer, 1), "disk.volumes", "the volume groups cannot be opened")
        let paths = try guest.strings(guestfs_lvs(guest.pointer), "disk.volumes", "LVM lists no logical volumes")
        let found = try paths.filter { $0.hasPrefix("/dev/") }.map { try describe($0, guest, offset: first.offset) }
        logical = found
        return found
    }

    private func describe(_ device: String, _ guest: GuestHandle, offset: ByteCount) throws -> Volume {
        let size = guestfs_blockdev_getsize64(guest.pointer, device)
        guard size >= 0 else { throw guest.failure("disk.volumes", "\(device) tells no size") }
        // A volume with nothing that is known there makes no error, but an empty text.
        let type = try guest.string(
            guestfs_vfs_type(guest.pointer, device), "disk.volumes", "cannot look into \(device)")
        let label = type.isEmpty ? "" : (try? guest.string(guestfs_vfs_label(guest.pointer, device), "", "")) ?? ""
        return Volume(
            id: VolumeID(String(device.dropFirst(5))), offset: offset, size: ByteCount(size),
            fileSystem: type.isEmpty ? nil : type, label: label.isEmpty ? nil : label)
    }

    /// The one logical volume that is meant by the name of the volume that LVM has.
    func only(of logical: [Volume], in volume: VolumeID) throws -> Volume {
        let usable = logical.filter { MountRecipe.of($0.fileSystem) != nil }
        if let only = usable.first, usable.count == 1 { return only }
        let names = logical.map { "\($0.id) (\($0.fileSystem ?? "unknown"))" }.joined(separator: ", ")
        throw BackendError(
            .unsupported, "disk.filesystem",
            "volume \(volume) belongs to LVM, "
                + (logical.isEmpty ? "which has no logical volume there" : "choose one of its volumes: \(names)"))
    }

    /// As `StagedView.objection`, for a logical volume, whose place on the disk only LVM knows.
    func objection(toLogical volume: Volume, _ guest: GuestHandle) throws -> BackendError? {
        guard volume.fileSystem?.hasPrefix("ext") == true else { return nil }
        var size = 0
        let bytes = try guest.check(
            guestfs_pread_device(
                guest.pointer, GuestFSCore.device(ofLogical: volume.id), Int32(ExtSuperblock.length),
                ExtSuperblock.offset, &size), "disk.filesystem", "cannot read the superblock of \(volume.id)")
        defer { free(bytes) }
        return ExtSuperblock(UnsafeRawBufferPointer(start: bytes, count: size))?
            .objection("volume \(volume.id)", volumeSize: volume.size.bytes)
    }
}
