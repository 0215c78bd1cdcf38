import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Where the files of a chain are looked for, and which were met already.
struct ForeignSearch {
    /// Those that the user names.
    let folders: [HostPath]
    private var met: Set<FileNumber> = []

    private struct FileNumber: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    init(folders: [HostPath]) { self.folders = folders }

    /// Opens the next layer of a chain for a look.
    ///
    /// - Throws: `corrupt` for a chain that comes back to itself or has no end.
    mutating func enter(_ path: HostPath) throws -> PosixFile {
        let file = try look(path)
        var info = stat()
        guard fstat(file.descriptor, &info) == 0 else { throw hostError("disk.open", "cannot look at \(path)") }
        let isNew = met.insert(FileNumber(device: UInt64(info.st_dev), inode: UInt64(info.st_ino))).inserted
        guard isNew else {
            throw BackendError(
                .corrupt, "disk.open", "\(path) stands twice in its own chain of backing files", blame: .disk)
        }
        guard met.count <= ForeignPlan.deepest else {
            throw BackendError(
                .corrupt, "disk.open", "\(path) is more than \(ForeignPlan.deepest) layers deep", blame: .disk)
        }
        return file
    }

    /// Opens a file that an image may refer to: a regular one, not a device or a pipe.
    func look(_ path: HostPath) throws -> PosixFile {
        let file = try PosixFile(path, O_RDONLY)
        guard !file.isBlockDevice else {
            throw BackendError(
                .unsupported, "disk.open", "\(path) is a device; copy it to a file", blame: .caller)
        }
        return file
    }

    /// The file that a name in an image means, by its last part.
    ///
    /// - Throws: `unsupported` for a name that is no path, `notFound`.
    func find(_ name: String, for image: HostPath, _ what: String) throws -> HostPath {
        let last = name.split(whereSeparator: { $0 == "/" || $0 == "\\" }).last.map(String.init) ?? ""
        let beforeSlash = name.prefix { $0 != "/" }
        // `json:`, `nbd:`, `ssh:`: QEMU would open whatever they say. A drive's letter is Windows'.
        guard !last.isEmpty, last != ".", last != "..", !last.contains(":"),
            !beforeSlash.contains(":") || beforeSlash.dropFirst().first == ":"
        else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(image) names '\(name)' as its \(what), which is not the name of a file and is not followed",
                blame: .disk)
        }
        for folder in places(around: image) where isRegular(folder.appending(last)) { return folder.appending(last) }
        throw BackendError(
            .notFound, "disk.open", "the \(what) of \(image), '\(name)', is not in \(places(for: image))",
            blame: .caller)
    }

    /// A part of the image itself, which lies beside it under a plain name.
    func extent(_ name: String, of image: HostPath) throws -> HostPath {
        guard !name.isEmpty, name != ".", name != "..", name.utf8.count <= 255,
            !name.contains(where: { $0 == "/" || $0 == "\\" || $0 == ":" })
        else {
            throw BackendError(
                .unsupported, "disk.open",
                "\(image) names '\(name)' as a part of it; only a plain name in its own folder is followed",
                blame: .disk)
        }
        let path = image.parent.appending(name)
        guard isRegular(path) else {
            throw BackendError(
                .notFound, "disk.open", "\(image) is not whole: there is no file \(path)", blame: .caller)
        }
        return path
    }

    /// All files of a kind in the places where a parent may be.
    func candidates(for image: HostPath, _ fileExtension: String) -> [HostPath] {
        places(around: image).flatMap { folder in
            HostFiles.names(in: folder).map { folder.appending($0) }.filter {
                $0 != image && $0.fileExtension == fileExtension && isRegular($0)
            }
        }
    }

    /// For messages.
    func places(for image: HostPath) -> String {
        places(around: image).map(\.string).joined(separator: ", ") + "; --parent-folder names more folders"
    }

    private func places(around image: HostPath) -> [HostPath] {
        // A snapshot's layer lies in `Snapshots` and its parent one folder up, or the other way round.
        let around = [image.parent, image.parent.appending("Snapshots")]
        return around + (image.parent.name == "Snapshots" ? [image.parent.parent] : []) + folders
    }

    private func isRegular(_ path: HostPath) -> Bool {
        var info = stat()
        return lstat(path.string, &info) == 0 && info.st_mode & S_IFMT == S_IFREG
    }
}
