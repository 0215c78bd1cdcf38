import Abstractions
import CFuse3
import Host
import Synchronization
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Opens images by mounting them.
final class VDFuseAccess: DiskAccess {
    private let wish: String?
    private let server: String?
    private let sessions = Mutex<(isClosed: Bool, open: [ObjectIdentifier: VDFuseSession])>((false, [:]))

    init(_ options: OptionValues) {
        wish = options["mounter"].flatMap { $0 == "auto" ? nil : $0 }
        server = options["server"]
    }

    func info() async throws -> DiskAccessInfo {
        let library = String(cString: fuse_pkgversion())
        return DiskAccessInfo(
            name: "vdfuse", version: "libfuse \(library)",
            features: [.write, .mount, .hardLinks, .sparse, .ownership], formats: VirtualDisk.formats,
            readOnlyFormats: VirtualDisk.readOnlyFormats,
            fileSystems: Mounter.fileSystems.filter { (try? Mounter.choose(wish, for: $0)) != nil })
    }

    func check(_ depth: CheckDepth) async throws -> [Finding] {
        var findings: [Finding] = []
        if let problem = Mounter.fuseProblem {
            findings.append(finding("/dev/fuse", problem))
        } else {
            findings.append(Finding("/dev/fuse", .good, "libfuse \(String(cString: fuse_pkgversion()))"))
        }
        do {
            findings.append(Finding("mounter", .good, try Mounter.choose(wish).rawValue))
        } catch {
            findings.append(finding("mounter", BackendError.wrapping(error, "vdfuse.check")))
        }
        do {
            findings.append(Finding("server", .good, try program().string))
        } catch {
            findings.append(finding("server", BackendError.wrapping(error, "vdfuse.check")))
        }
        findings.append(VirtualDisk.foreignFinding())
        if depth == .proof, !findings.contains(where: { $0.isObstacle }) { findings.append(await proof()) }
        return findings
    }

    func probe(_ image: DiskImage) async throws -> Suitability {
        if let problem = Mounter.fuseProblem { return Suitability(score: 0, reason: problem.message) }
        do {
            let session = try await open(image, .readOnly)
            let types = try await session.volumes().compactMap(\.fileSystem)
            try await session.close()
            var problem = BackendError(.unsupported, "vdfuse.probe", "no file system on \(image.path)")
            for type in types {
                do {
                    let mounter = try Mounter.choose(wish, for: type)
                    return Suitability(
                        score: mounter == .kernel ? 60 : 40,
                        reason: "\(type) mounted by \(mounter == .kernel ? "the kernel" : mounter.rawValue)")
                } catch {
                    problem = BackendError.wrapping(error, "vdfuse.probe")
                }
            }
            return Suitability(score: 0, reason: problem.message)
        } catch {
            return Suitability(score: 0, reason: BackendError.wrapping(error, "vdfuse.probe").message)
        }
    }

    func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        if let problem = Mounter.fuseProblem { throw problem }
        let absolute = image.at(HostFiles.absolute(image.path))
        let session = try VDFuseSession(absolute, mode, mounter: wish, program: try program()) {
            [weak self] session in
            self?.sessions.withLock { _ = $0.open.removeValue(forKey: ObjectIdentifier(session)) }
        }
        let isClosed = sessions.withLock { state in
            if !state.isClosed { state.open[ObjectIdentifier(session)] = session }
            return state.isClosed
        }
        do {
            if isClosed { throw BackendError(.invalidState, "disk.open", "the backend is closed") }
            try await session.start()
        } catch {
            try? await session.close()
            throw error
        }
        return session
    }

    func close() async {
        let open = sessions.withLock { state in
            state.isClosed = true
            return Array(state.open.values)
        }
        for session in open { try? await session.close() }
    }

    // MARK: - Parts

    /// The plugin's program, which is also the server: this one, or the one beside it.
    private func program() throws -> HostPath {
        if let server { return HostFiles.absolute(HostPath(server)) }
        let own = HostFiles.resolved("/proc/self/exe")
        if let own, own.name == "anyvisor-vdfuse" { return own }
        let beside = HostEnvironment.executableFolder.appending("anyvisor-vdfuse")
        guard access(beside.string, X_OK) == 0 else {
            throw BackendError(
                .unavailable, "vdfuse.open", "\(beside) is not installed; the option server names another place",
                blame: .host)
        }
        return beside
    }

    private func finding(_ subject: String, _ problem: BackendError) -> Finding {
        let parts = problem.message.split(separator: ";", maxSplits: 1)
        return Finding(
            subject, .bad, parts.first.map(String.init) ?? problem.message,
            remedy: parts.count > 1 ? parts[1].drop { $0 == " " }.description : nil)
    }

    /// Makes a small image, writes a file into it and reads it back from a second session.
    private func proof() async -> Finding {
        do {
            let folder = try RunScope.makeProcessFolder("vdfuse-proof")
            defer { try? HostFiles.removeTree(folder) }
            let image = DiskImage(path: folder.appending("disk"), format: .raw)
            _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", image.path.string, "8M"])
            let writing = try await open(image, .readWrite)
            try await writing.filesystem(on: .whole).writable?.makeDirectory("/proof", parents: false)
            try await writing.commit()
            try await writing.close()
            let reading = try await open(image, .readOnly)
            _ = try await reading.filesystem(on: .whole).stat("/proof")
            try await reading.close()
            return Finding("proof", .good, "wrote a folder into an image and read it back")
        } catch {
            return Finding("proof", .bad, "\(BackendError.wrapping(error, "vdfuse.check"))")
        }
    }
}
