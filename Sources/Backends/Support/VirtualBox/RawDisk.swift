import Abstractions
import Host

/// A raw image as VirtualBox takes it: a VMDK of a few lines of text beside the machine, whose one extent is the image.
///
/// VMware's "Virtual Disk Format 5.0", createType `monolithicFlat`. VirtualBox takes the extent's name for a path of its own when
/// it begins with a slash (`vmdkOpenImage` in its VMDK.cpp).
package struct RawDisk: Sendable {
    /// The image.
    let image: HostPath
    /// Its size in sectors of 512 bytes.
    let sectors: Int64

    /// - Throws: `invalidArgument` for an image that VirtualBox could not take: empty, no whole number of sectors, or with a name
    ///   that the text cannot hold.
    package init(_ image: HostPath) throws {
        func refuse(_ what: String) -> BackendError {
            BackendError(.invalidArgument, "machine.create", "disk \(image) \(what)", blame: .caller)
        }
        guard let size = HostFiles.size(image) else {
            throw BackendError(.notFound, "machine.create", "disk \(image) does not exist")
        }
        guard size > 0, size % 512 == 0 else {
            throw refuse("has \(size) bytes; VirtualBox takes raw disks of whole sectors, 512 bytes each")
        }
        guard !image.string.unicodeScalars.contains(where: { $0 == "\"" || $0.value < 0x20 }) else {
            throw refuse("has a quote or a control character in its name, with which VirtualBox takes no raw disk")
        }
        self.image = image
        sectors = size / 512
    }

    /// The VMDK's text.
    ///
    /// - Parameter uuid: by which VirtualBox knows the disk.
    package func descriptor(uuid: String) -> String {
        """
        # Disk DescriptorFile
        version=1
        CID=fffffffe
        parentCID=ffffffff
        createType="monolithicFlat"

        # Extent description
        RW \(sectors) FLAT "\(image)" 0

        # The disk Data Base
        #DDB

        ddb.virtualHWVersion = "4"
        ddb.adapterType="ide"
        ddb.uuid.image="\(uuid)"
        ddb.uuid.parent="00000000-0000-0000-0000-000000000000"
        ddb.uuid.modification="00000000-0000-0000-0000-000000000000"
        ddb.uuid.parentmodification="00000000-0000-0000-0000-000000000000"

        """
    }
}
