import Abstractions
import Host

extension ForeignPlan {
    static func vmdk(_ file: PosixFile, _ search: inout ForeignSearch) throws -> ForeignPlan {
        let path = file.path
        var plan = ForeignPlan(path: path, node: QEMUNode(driver: "vmdk", file: path), files: [path], size: nil)
        let descriptor: VMDKDescriptor
        if try file.bytes(at: 0, count: 4) == VMDKSparseHeader.magic {
            let header = try VMDKSparseHeader(file)
            guard let text = try embedded(in: file, header) else {
                throw BackendError(
                    .unsupported, "disk.open",
                    "\(path) is one part of a VMDK that is split; name the file that describes them all", blame: .caller
                )
            }
            try header.checkGrains(file)
            descriptor = text
            (plan.size, plan.grain) = (header.sectors * 512, header.grain)
            if header.isCompressed { plan.objection = "a stream-optimised VMDK takes no changes" }
        } else {
            let text = try file.bytes(at: 0, count: Int(min(file.length(), Int64(VMDKDescriptor.longest))))
            guard String(decoding: text.prefix(64), as: UTF8.self).lowercased().hasPrefix("# disk descriptorfile")
            else {
                throw BackendError(
                    .corrupt, "disk.open",
                    "\(path) is no VMDK: it has neither a signature nor a descriptor; a data file is opened through the "
                        + "small file that describes it", blame: .disk)
            }
            descriptor = try VMDKDescriptor(text, of: path)
            try plan.addExtents(descriptor, search)
        }
        if descriptor.hasParent { plan.below = [try parent(of: descriptor, path, &search)] }
        return plan
    }

    /// The descriptor inside a sparse file; nil when there is none.
    private static func embedded(in file: any ImageFile, _ header: VMDKSparseHeader) throws -> VMDKDescriptor? {
        guard let place = header.descriptor else { return nil }
        let bytes = try file.bytes(at: place.lowerBound, count: Int(place.upperBound - place.lowerBound))
        // QEMU leaves room for one in each part of a split image.
        return bytes.first == 0 ? nil : try VMDKDescriptor(bytes, of: file.path)
    }

    private mutating func addExtents(_ descriptor: VMDKDescriptor, _ search: ForeignSearch) throws {
        let known = ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "vmfs"]
        guard known.contains(descriptor.type), !descriptor.extents.isEmpty else {
            throw BackendError(
                .unsupported, "disk.open", "\(path) is a VMDK of type '\(descriptor.type)', which is not known here",
                blame: .disk)
        }
        if descriptor.type == "vmfs" { objection = "QEMU does not write VMDKs of type vmfs" }
        var total: Int64 = 0
        for extent in descriptor.extents {
            let name = try search.extent(extent.file, of: path)
            let file = try search.look(name)
            let length = try file.length()
            switch extent.type {
            case "FLAT", "VMFS":
                guard length / 512 >= extent.offset, length / 512 - extent.offset >= extent.sectors else {
                    throw BackendError(
                        .corrupt, "disk.open",
                        "\(name) is shorter than \(path) says: \(length) bytes for \(extent.sectors) sectors",
                        blame: .disk)
                }
            case "SPARSE":
                let header = try VMDKSparseHeader(file)
                guard header.sectors == extent.sectors, extent.offset == 0 else {
                    throw BackendError(
                        .corrupt, "disk.open",
                        "\(name) has \(header.sectors) sectors, but \(path) says \(extent.sectors)", blame: .disk)
                }
                try header.checkGrains(file)
                if header.isCompressed { objection = "a stream-optimised VMDK takes no changes" }
                grain = max(grain, header.grain)
            default:
                throw BackendError(
                    .unsupported, "disk.open", "\(path) has a part of type \(extent.type), which is not known",
                    blame: .disk)
            }
            total += extent.sectors
            files.append(name)
            parts.append(name)
        }
        size = total * 512
    }

    // MARK: - Parents

    /// The image that a delta lies over: named by the hint, else found by what links the two.
    private static func parent(
        of descriptor: VMDKDescriptor, _ path: HostPath, _ search: inout ForeignSearch
    ) throws -> ForeignPlan {
        let hinted = descriptor.parentHint.flatMap { try? search.find($0, for: path, "parent") }
        for candidate in [hinted].compactMap({ $0 }) + search.candidates(for: path, "vmdk") {
            guard let file = try? search.look(candidate), let other = try? description(of: file),
                isLinked(descriptor, to: other)
            else { continue }
            return try make(candidate, .vmdk, &search)
        }
        let link = descriptor.parentContentID.map { "CID \($0)" } ?? "UUID \(descriptor.parentUUID ?? "")"
        throw BackendError(
            .notFound, "disk.open",
            "\(path) lies over a VMDK with \(link)\(descriptor.parentHint.map { " (\($0))" } ?? ""), which is not in "
                + search.places(for: path), blame: .caller)
    }

    private static func isLinked(_ delta: VMDKDescriptor, to other: VMDKDescriptor) -> Bool {
        // A parent that was written to has another CID, and what the delta lacks is no longer what it was.
        if let id = delta.parentContentID { return id == other.contentID }
        return delta.parentUUID != nil && delta.parentUUID == other.uuid
    }

    private static func description(of file: PosixFile) throws -> VMDKDescriptor? {
        if try file.bytes(at: 0, count: 4) == VMDKSparseHeader.magic {
            return try embedded(in: file, VMDKSparseHeader(file))
        }
        let text = try file.bytes(at: 0, count: Int(min(file.length(), Int64(VMDKDescriptor.longest))))
        return try VMDKDescriptor(text, of: file.path)
    }
}
