import Abstractions
import CHost
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What a `HostTreeReader` shows its finds to, parents before children, names of a folder in the order of their bytes.
public protocol HostTreeVisitor {
    /// A folder; false leaves it out with everything in it, and without `leave`.
    mutating func enter(_ folder: HostEntry) throws -> Bool
    /// The end of a folder.
    mutating func leave(_ folder: HostEntry) throws
    /// Anything else; `open` opens a regular file.
    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws
}

/// Walks a file or tree of this host without following a link, however deep it is.
///
/// A link at the top is shown as a link too. Entries that vanish during the walk are left out.
public final class HostTreeReader {
    /// The top of the tree.
    public let top: HostEntry
    private let parent: Int32

    /// Looks at the top of the tree; links above it are followed, as in any path that a user types.
    ///
    /// - Throws: `notFound`, `permissionDenied`.
    public init(_ path: HostPath) throws {
        // `.`, `..` and `/` have no name of their own in a parent.
        let isNamed = !["/", ".", ".."].contains(path.name)
        let folder = isNamed ? path.parent : path
        let descriptor = Glibc.open(folder.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw hostError("copyIn", "cannot open \(folder)") }
        parent = descriptor
        guard let top = try HostEntry.read(isNamed ? path.name : ".", below: descriptor) else {
            Glibc.close(descriptor)
            throw hostError("copyIn", "cannot open \(path)", errno: ENOENT)
        }
        self.top = top
    }

    /// Looks at one name below an open folder, which is taken over.
    ///
    /// - Throws: `notFound`, what the host says.
    package init(_ name: String, below folder: Int32) throws {
        do {
            guard let top = try HostEntry.read(name, below: folder) else {
                throw hostError("copyOut", "cannot open \(name)", errno: ENOENT)
            }
            self.top = top
            parent = folder
        } catch {
            Glibc.close(folder)
            throw error
        }
    }

    /// Walks the whole tree once.
    ///
    /// - Throws: what the visitor throws, or the host about a file that cannot be read.
    public func walk(_ visitor: inout some HostTreeVisitor) throws {
        guard top.stat.kind == .directory else {
            return try visitor.visit(top) { try HostTreeReader.open(top, below: parent) }
        }
        guard try visitor.enter(top) else { return }
        let stack = FolderStack(root: try HostNames.openFolder(parent, top.name))
        var folders = [(entry: top, names: Array(try HostNames.list(try stack.current()).reversed()))]
        while !folders.isEmpty {
            // In place: a copy of the names would make each step cost as much as the folder is long.
            guard let name = folders[folders.count - 1].names.popLast() else {
                try visitor.leave(folders[folders.count - 1].entry)
                folders.removeLast()
                stack.leave()
                continue
            }
            let current = try stack.current()
            guard let entry = try HostEntry.read(name, below: current) else { continue }
            if entry.stat.kind == .directory {
                guard try visitor.enter(entry) else { continue }
                try stack.enter(name)
                folders.append((entry, Array(try HostNames.list(try stack.current()).reversed())))
            } else {
                try visitor.visit(entry) { try HostTreeReader.open(entry, below: current) }
            }
        }
    }

    private static func open(_ entry: HostEntry, below folder: Int32) throws -> HostFile {
        // O_NONBLOCK: a pipe that took the file's place must not block us.
        let descriptor = HostNames.open(folder, entry.name, O_RDONLY | O_NONBLOCK)
        guard descriptor >= 0 else { throw hostError("copyIn", "cannot open \(entry.name)") }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            Glibc.close(descriptor)
            throw BackendError(
                .inUse, "copyIn", "\(entry.name) was replaced during the copy, try again", blame: .host, retry: .backoff
            )
        }
        return HostFile(descriptor: descriptor, size: Int64(info.st_size))
    }

    deinit { Glibc.close(parent) }
}
