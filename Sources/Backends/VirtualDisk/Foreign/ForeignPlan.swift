import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// An image of one of QEMU's formats with all of its files, looked at before QEMU sees any of them.
///
/// What an image says about other files is a hint, not an order: only the last part of a name counts, and it must be a regular
/// file in the image's folder, in the `Snapshots` folder there, or in a folder that the user names.
struct ForeignPlan: Sendable {
    /// The image itself.
    var path: HostPath
    /// What its own server is told.
    var node: QEMUNode
    /// All files that the server opens; the first is the image itself.
    var files: [HostPath]
    /// Those of them that are parts of the image itself: the extents of a VMDK.
    var parts: [HostPath] = []
    /// Bytes of the disk by the image's header; nil when only QEMU knows.
    var size: Int64?
    /// The layer below, when it is not QEMU that puts the two together; at most one.
    var below: [ForeignPlan] = []
    /// What a write brings at least into such a layer.
    var grain: Int64 = 1 << 16
    /// Layers whose files may be cut off: only a look at all of their tables tells.
    var suspects: [QEMUNode] = []
    /// Why it cannot be written.
    var objection: String?
    /// The internal snapshot that is shown.
    var snapshot: String?

    /// QEMU itself has no limit; a longer chain is more likely an attack than a disk.
    static let deepest = 64

    /// Looks at an image and what lies below it.
    ///
    /// - Throws: `corrupt`, `unsupported`, `notFound` for a file of the chain that is not where it may be.
    static func make(_ image: DiskImage) throws -> ForeignPlan {
        var search = ForeignSearch(folders: image.parentFolders ?? [])
        var plan = try make(image.path, image.format, &search)
        if let snapshot = image.snapshot {
            (plan.snapshot, plan.size, plan.objection) = (snapshot, nil, "a snapshot inside an image stays as it is")
        }
        return plan
    }

    /// Its files and those of the layers below.
    var everyFile: [HostPath] { files + below.flatMap(\.everyFile) }

    /// The same for reading beside a writer.
    var unlocked: ForeignPlan {
        var plan = self
        (plan.node, plan.suspects, plan.below) = (node.unlocked, suspects.map(\.unlocked), below.map(\.unlocked))
        return plan
    }

    static func make(_ path: HostPath, _ format: ImageFormat, _ search: inout ForeignSearch) throws -> ForeignPlan {
        let file = try search.enter(path)
        switch format {
        case .qcow2: return try qcow2(file, &search)
        case .vmdk: return try vmdk(file, &search)
        case .vhdx:
            guard try file.bytes(at: 0, count: 8) == Array("vhdxfile".utf8) else {
                throw BackendError(.corrupt, "disk.open", "\(path) is no VHDX: it has no signature", blame: .disk)
            }
            var plan = ForeignPlan(path: path, node: QEMUNode(driver: "vhdx", file: path), files: [path], size: nil)
            plan.objection = "QEMU's VHDX is not safe to write"
            return plan
        case .raw, .vdi, .vhd, "vpc":
            // Below qcow2 only; what is wrong with it QEMU says.
            let node = QEMUNode(driver: ForeignTool.driver(format), file: path)
            return ForeignPlan(path: path, node: node, files: [path], size: nil)
        default:
            throw BackendError(
                .unsupported, "disk.open", "\(path) would be of format '\(format)', which is not known", blame: .disk)
        }
    }

    private static func qcow2(_ file: PosixFile, _ search: inout ForeignSearch) throws -> ForeignPlan {
        let path = file.path
        let header = try QCOW2Header(file)
        var plan = ForeignPlan(
            path: path, node: QEMUNode(driver: "qcow2", file: path), files: [path], size: header.size)
        if header.isMarkedCorrupt { plan.objection = "QEMU has marked it corrupt (`qemu-img check -r all` repairs it)" }
        if header.mayBeCut { plan.suspects = [plan.node] }
        guard let backing = header.backing else { return plan }
        guard let format = backing.format else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(path) does not say what format its backing file has, and guessing is not safe; "
                    + "`qemu-img rebase -u -F FORMAT -b FILE` writes it down", blame: .disk)
        }
        let below = try make(search.find(backing.name, for: path, "backing file"), ImageFormat(format), &search)
        guard below.below.isEmpty else {
            throw BackendError(
                .unsupported, "disk.open", "\(path) lies over \(below.path), a VMDK that has a parent itself",
                blame: .disk)
        }
        plan.node.backing = [below.node]
        plan.files += below.files
        plan.suspects += below.suspects
        return plan
    }
}
