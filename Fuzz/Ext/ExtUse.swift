import Abstractions
import BackendSupport
import DirectBackend
import FuzzDriver

#if canImport(Glibc)
    import Glibc
#endif

/// Reads all that a damaged file system shows, or writes into it; whatever fails must fail with an error of damage.
enum ExtUse {
    /// Most entries that are looked at.
    private static let mostEntries = 200

    static func run(_ image: HostPath, _ isWriting: Bool) async {
        let access = DirectDiskAccess()
        do {
            let session = try await access.open(
                DiskImage(path: image, format: .raw), isWriting ? .readWrite : .readOnly)
            let system = try await session.filesystem(on: .whole)
            if isWriting { try await write(system, image) } else { try await read(system, image) }
            if isWriting { try await session.commit() }
            try await session.close()
        } catch let error as BackendError {
            let known: [BackendError.Code] = [
                .corrupt, .unsupported, .notFound, .invalidArgument, .alreadyExists, .noSpace, .quotaExceeded,
            ]
            demand(known.contains(error.code), "not an error of a damaged file system: \(error)")
        } catch {
            fatalError("not a BackendError: \(error)")
        }
        await access.close()
    }

    private static func read(_ system: any GuestFilesystem, _ image: HostPath) async throws {
        var folders: [GuestPath] = ["/"]
        var seen = 0
        while let folder = folders.popLast(), seen < mostEntries {
            for entry in try await system.list(folder, after: nil).entries.prefix(mostEntries) {
                seen += 1
                let path = folder.appending(entry.name)
                switch entry.stat.kind {
                case .directory: folders.append(path)
                case .file:
                    do { _ = try await system.read(path, offset: 0, count: 65536) } catch let error as BackendError {
                        demand(
                            [.corrupt, .unsupported].contains(error.code),
                            "a file cannot be read for another reason: \(error)")
                    }
                default: break
                }
            }
        }
        let out = HostPath("\(image).out")
        let limits = CopyLimits(bytes: .mib(8), files: 500, depth: 16)
        _ = try? await system.copyOut("/", to: out, policy: .untrusted(limits), progress: .none)
        remove(out)
    }

    private static func write(_ system: any GuestFilesystem, _ image: HostPath) async throws {
        guard let writable = system.writable else { fatalError("a session for writing cannot write") }
        try await writable.makeDirectory("/new/folder", parents: true)
        _ = try await writable.copyIn(
            HostPath("/proc/self/environ"), to: "/new/file", options: CopyInOptions(), progress: .none)
        try await writable.rename("/new/file", to: "/new/folder/file")
        try await writable.remove("/dir", recursive: true)
    }

    private static func remove(_ out: HostPath) {
        let folder = open(out.parent.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { close(folder) }
        try? TreeRemover.remove(out.name, below: folder)
    }
}
