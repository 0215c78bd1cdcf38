import Abstractions
import BackendSupport
import CGuestfs
import Host
import Synchronization
import VirtualDisk

/// Opens images through libguestfs.
final class GuestFSAccess: DiskAccess {
    private let pool: AppliancePool
    private let sessions = Mutex<(isClosed: Bool, open: [ObjectIdentifier: GuestFSSession])>((false, [:]))

    init(_ options: OptionValues) {
        pool = AppliancePool(Accelerator(options["kvm"].flatMap(Accelerator.Choice.init) ?? .auto))
    }

    func info() async throws -> DiskAccessInfo {
        DiskAccessInfo(
            name: "libguestfs", version: try version(), features: [.write, .hardLinks, .sparse, .ownership],
            formats: VirtualDisk.formats, readOnlyFormats: VirtualDisk.readOnlyFormats,
            fileSystems: MountRecipe.fileSystems)
    }

    func check(_ depth: CheckDepth) async throws -> [Finding] {
        var findings = [Finding("libguestfs", .good, try version())] + Appliance.findings()
        findings.append(VirtualDisk.foreignFinding())
        if depth == .proof, !findings.contains(where: { $0.isObstacle }) { findings.append(await proof()) }
        return findings
    }

    func probe(_ image: DiskImage) async throws -> Suitability {
        if let problem = Appliance.problem() { return Suitability(score: 0, reason: problem.message) }
        let result = await onOwnThread { () -> Result<[Volume], any Error> in
            Result {
                let view = try StagedView(image, .readOnly)
                for volume in view.volumes { if let objection = try view.objection(to: volume) { throw objection } }
                return view.volumes
            }
        }
        do {
            let isUsable = try result.get().contains {
                MountRecipe.of($0.fileSystem) != nil || $0.fileSystem == MountRecipe.physicalVolume
            }
            guard isUsable else {
                let known = MountRecipe.fileSystems.joined(separator: ", ")
                return Suitability(score: 0, reason: "no file system on \(image.path) is one of \(known)")
            }
            return Suitability(score: 20, reason: "works, after 10 s for starting the appliance once")
        } catch {
            return Suitability(score: 0, reason: BackendError.wrapping(error, "disk.probe").message)
        }
    }

    func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        if let problem = Appliance.problem() { throw problem }
        let absolute = image.at(HostFiles.absolute(image.path))
        let forget: @Sendable (GuestFSSession) -> Void = { [weak self] session in
            self?.sessions.withLock { _ = $0.open.removeValue(forKey: ObjectIdentifier(session)) }
        }
        let session = try await onOwnThread { [pool] in
            Result { try GuestFSSession(absolute, mode, pool, onClose: forget) }
        }.get()
        let isClosed = sessions.withLock { state in
            if !state.isClosed { state.open[ObjectIdentifier(session)] = session }
            return state.isClosed
        }
        guard !isClosed else {
            try? await session.close()
            throw BackendError(.invalidState, "disk.open", "the backend is closed")
        }
        return session
    }

    func close() async {
        let open = sessions.withLock { state in
            state.isClosed = true
            return Array(state.open.values)
        }
        for session in open { try? await session.close() }
        await onOwnThread { [pool] in pool.close() }
    }

    // MARK: - Parts

    private func version() throws -> String {
        let guest = try GuestHandle(environment: [:])
        defer { guest.close() }
        let found = try guest.check(guestfs_version(guest.pointer), "disk.info", "libguestfs tells no version")
        defer { guestfs_free_version(found) }
        return "libguestfs \(found.pointee.major).\(found.pointee.minor).\(found.pointee.release)"
    }

    /// Makes a small image, writes a folder into it and looks at it from a second session.
    private func proof() async -> Finding {
        do {
            let folder = try RunScope.makeProcessFolder("guestfs-proof")
            defer { try? HostFiles.removeTree(folder) }
            let image = DiskImage(path: folder.appending("disk"), format: .raw)
            _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", image.path.string, "8M"])
            let session = try await open(image, .readWrite)
            do {
                try await session.filesystem(on: .whole).writable?.makeDirectory("/proof", parents: false)
                try await session.commit()
                try await session.close()
            } catch {
                try? await session.close()
                throw error
            }
            return Finding("proof", .good, "the appliance started and wrote a folder into an image")
        } catch {
            return Finding("proof", .bad, "\(BackendError.wrapping(error, "disk.check"))")
        }
    }
}
